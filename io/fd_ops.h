#pragma once
// Awaitable operations on plain descriptors (pipes, files, pidfds) of the current loop. Each takes
// a StopToken and a Deadline: when one fires the operation is cancelled and joined before the
// awaiter returns, so the caller's buffer is never written afterwards. Leaf awaiters: no frame, no
// allocation.

#include <coroutine>
#include <cstdint>
#include <span>

#include "io/clock.h"
#include "io/error.h"
#include "io/event_loop.h"
#include "io/op.h"
#include "io/stop_token.h"

namespace weir::io {

class [[nodiscard]] FdAwaiter : Op, ReadyNode, StopCallback, Timer {
 public:
  FdAwaiter(OpKind op_kind, int op_fd, std::span<std::uint8_t> op_buffer, std::uint64_t op_offset,
            std::uint32_t mask, StopToken stop, Deadline deadline);
  bool await_ready();
  void await_suspend(std::coroutine_handle<> awaiting);
  // Bytes (read: 0 = end) or poll mask.
  Result<std::size_t> await_resume() const;

 private:
  void completed(const Completion& completion);
  void interrupt(Errc reason);

  StopToken stop_;
  Deadline deadline_;
  std::int32_t result_ = 0;
  bool interrupted_ = false;
  Errc reason_ = Errc::cancelled;
};

inline FdAwaiter read_some(int fd, std::span<std::uint8_t> into, StopToken stop = {},
                           Deadline deadline = Deadline::never()) {
  return {OpKind::read, fd, into, kNoOffset, 0, stop, deadline};
}
inline FdAwaiter read_at(int fd, std::span<std::uint8_t> into, std::uint64_t offset,
                         StopToken stop = {}, Deadline deadline = Deadline::never()) {
  return {OpKind::read, fd, into, offset, 0, stop, deadline};
}
// May write less than all of `bytes`.
inline FdAwaiter write_some(int fd, std::span<const std::uint8_t> bytes, StopToken stop = {},
                            Deadline deadline = Deadline::never()) {
  return {OpKind::write, fd, {const_cast<std::uint8_t*>(bytes.data()), bytes.size()},
          kNoOffset,     0,  stop,
          deadline};
}
inline FdAwaiter poll_fd(int fd, std::uint32_t mask, StopToken stop = {},
                         Deadline deadline = Deadline::never()) {
  return {OpKind::poll, fd, {}, kNoOffset, mask, stop, deadline};
}

}  // namespace weir::io
