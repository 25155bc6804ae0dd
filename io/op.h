#pragma once
// Op: one operation in flight on a Backend. Intrusive: owned by whoever asked (a Socket, an
// awaiter), who keeps it alive and immovable until its final completion has run (in_flight() is
// false again). The kernel may touch `buffer` and `address` until then.

#include <sys/socket.h>

#include <cstdint>
#include <span>

#include "io/check.h"
#include "io/intrusive_list.h"

namespace weir::io {

enum class OpKind : std::uint8_t {
  accept,  // multishot: one completion per connection, result = descriptor (non-blocking, cloexec)
  connect,
  recv,  // into a lent buffer of the backend's pool; waits (not fails) while the pool is empty
  send,  // all of `buffer` unless an error or a cancel cuts it short: send the rest to learn why
  read,  // at file `offset`, or kNoOffset for pipes
  write,
  poll,  // one-shot; result = returned poll mask
  close,
};

inline constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};
inline constexpr std::uint16_t kNoBuffer = 0xffff;

struct Completion {
  std::int32_t result = 0;  // >= 0, or -errno
  bool more = false;        // multishot: further completions of this Op follow
  // recv only: the lent bytes. The receiver returns them with Backend::give_back(buffer_id), at
  // once or later; kNoBuffer when nothing was lent (end of stream, error).
  std::span<std::uint8_t> data = {};
  std::uint16_t buffer_id = kNoBuffer;
};

struct Op : ListNode<Op> {
  OpKind kind = OpKind::poll;
  int fd = -1;
  std::span<std::uint8_t> buffer;  // send/write: the bytes (not modified); read: where to
  std::uint64_t offset = kNoOffset;
  std::uint32_t poll_mask = 0;
  const sockaddr* address = nullptr;  // connect
  socklen_t address_bytes = 0;
  // Runs on the loop thread from the collected batch, never inside submit().
  void (*on_complete)(Op& self, const Completion& completion) = nullptr;

  // The backend's own notes; nobody else reads them.
  bool cancel_asked = false;      // during this flight
  bool data_waiting = false;      // recv: the last one left bytes in the socket
  bool parked = false;            // recv: waits for a buffer
  std::uint8_t place = 0;         // epoll: which of its stages the op is in
  std::uint32_t moved_bytes = 0;  // epoll: what this flight has sent, read or written so far

  ~Op() { WEIR_CHECK(!in_flight_); }
  bool in_flight() const { return in_flight_; }

 private:
  friend class Backend;
  bool in_flight_ = false;
};

}  // namespace weir::io
