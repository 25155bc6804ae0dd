#include "io/fd_ops.h"

#include <cerrno>

namespace weir::io {

FdAwaiter::FdAwaiter(OpKind op_kind, int op_fd, std::span<std::uint8_t> op_buffer,
                     std::uint64_t op_offset, std::uint32_t mask, StopToken stop, Deadline deadline)
    : stop_(stop), deadline_(deadline) {
  kind = op_kind;
  fd = op_fd;
  buffer = op_buffer;
  offset = op_offset;
  poll_mask = mask;
}

bool FdAwaiter::await_ready() {
  if (!stop_.stopped()) return false;
  interrupted_ = true;
  result_ = -ECANCELED;
  return true;
}

void FdAwaiter::await_suspend(std::coroutine_handle<> awaiting) {
  handle = awaiting;
  on_complete = [](Op& self, const Completion& completion) {
    static_cast<FdAwaiter&>(self).completed(completion);
  };
  on_stop = [](StopCallback& self) { static_cast<FdAwaiter&>(self).interrupt(Errc::cancelled); };
  stop_.subscribe(*this);
  EventLoop& loop = EventLoop::current();
  if (!deadline_.is_never()) {
    on_expire = [](Timer& self) {
      static_cast<FdAwaiter&>(self).interrupt(Errc::deadline_exceeded);
    };
    loop.timers().arm(*this, deadline_.at);
  }
  loop.backend().submit(*this);
}

void FdAwaiter::interrupt(Errc reason) {
  StopCallback::unlink();
  Timer::unlink();
  interrupted_ = true;
  reason_ = reason;
  EventLoop::current().backend().cancel(*this);
}

void FdAwaiter::completed(const Completion& completion) {
  StopCallback::unlink();
  Timer::unlink();
  result_ = completion.result;
  EventLoop::current().schedule(*this);
}

Result<std::size_t> FdAwaiter::await_resume() const {
  // What was done before the interruption is told: the bytes have left the descriptor.
  if (result_ >= 0) return static_cast<std::size_t>(result_);
  if (interrupted_) return fail(reason_, "descriptor operation");
  return fail(Errc::system, "descriptor operation", -result_);
}

}  // namespace weir::io
