#include "io/socket.h"

#include <sys/socket.h>

#include <cerrno>

namespace weir::io {

Socket::Socket(EventLoop& loop, int fd, SocketHandler& handler)
    : loop_(loop), fd_(fd), handler_(handler) {
  WEIR_CHECK(fd >= 0);
  for (OwnedOp* op : {&recv_op_, &send_op_, &close_op_}) {
    op->fd = fd;
    op->socket = this;
  }
  recv_op_.kind = OpKind::recv;
  recv_op_.on_complete = [](Op& op, const Completion& completion) {
    static_cast<OwnedOp&>(op).socket->recv_completed(completion);
  };
  send_op_.kind = OpKind::send;
  send_op_.on_complete = [](Op& op, const Completion& completion) {
    static_cast<OwnedOp&>(op).socket->send_completed(completion);
  };
  close_op_.kind = OpKind::close;
  close_op_.on_complete = [](Op& op, const Completion& completion) {
    WEIR_CHECK(completion.result != -EBADF);  // nobody else may have closed it
    static_cast<OwnedOp&>(op).socket->close_completed();
  };
}

Socket::~Socket() {
  WEIR_CHECK(state_ == State::closed);
}

void Socket::recv() {
  if (state_ != State::open || recv_ended_ || receiving()) return;
  loop_.backend().submit(recv_op_);
}

// While a handler runs the Socket stays: its end, on_closed(), comes from the close op's
// completion, which is never run inside another.
void Socket::recv_completed(const Completion& completion) {
  if (state_ == State::open) {
    if (completion.result > 0) {
      handler_.on_recv(completion.data);
    } else {
      recv_ended_ = true;
      if (completion.result == 0) {
        handler_.on_recv({});
      } else {
        handler_.on_error(-completion.result);
      }
    }
  }
  // Bytes that raced with close() are dropped, their buffer is not.
  if (completion.buffer_id != kNoBuffer) loop_.backend().give_back(completion.buffer_id);
  try_finish_close();
}

void Socket::send(std::span<const std::uint8_t> bytes) {
  if (state_ != State::open) return;
  WEIR_CHECK(!sending());
  WEIR_CHECK(!bytes.empty());
  send_op_.buffer = {const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
  sent_bytes_ = 0;
  loop_.backend().submit(send_op_);
}

void Socket::send_completed(const Completion& completion) {
  if (state_ != State::open) return try_finish_close();
  if (completion.result <= 0) {
    return handler_.on_error(completion.result == 0 ? EPIPE : -completion.result);
  }
  const auto bytes = static_cast<std::size_t>(completion.result);
  WEIR_CHECK(bytes <= send_op_.buffer.size());
  sent_bytes_ += bytes;
  send_op_.buffer = send_op_.buffer.subspan(bytes);
  if (!send_op_.buffer.empty()) {
    loop_.backend().submit(send_op_);
  } else {
    handler_.on_sent(sent_bytes_);
  }
}

void Socket::shutdown_write() {
  if (state_ == State::open) loop_.backend().shut_down(fd_, SHUT_WR);
}

void Socket::close() {
  if (state_ != State::open) return;
  state_ = State::joining;
  loop_.backend().shut_down(fd_, SHUT_RDWR);
  for (Op* op : {&recv_op_, &send_op_}) loop_.backend().cancel(*op);
  try_finish_close();
}

void Socket::try_finish_close() {
  if (state_ != State::joining || receiving() || sending()) return;
  state_ = State::closing;
  loop_.backend().submit(close_op_);
}

void Socket::close_completed() {
  WEIR_CHECK(state_ == State::closing);
  WEIR_CHECK(!receiving() && !sending());
  state_ = State::closed;
  handler_.on_closed();
}

}  // namespace weir::io
