#pragma once
// Socket: a connected stream socket and its close protocol. At most one recv and one send are in
// flight. Close is by joining: stop, shutdown, cancel, wait until nothing is in flight, give
// buffers back, close the descriptor, then tell the handler, who may destroy the Socket there and
// only there. Nothing else may close the descriptor. Loop thread only. See tests/io/socket_test.cc.

#include <cstdint>
#include <span>

#include "io/event_loop.h"
#include "io/op.h"

namespace weir::io {

class SocketHandler {
 public:
  // Bytes lent for the duration of the call; empty span = end of stream.
  virtual void on_recv(std::span<const std::uint8_t> bytes) = 0;
  // The whole send is done.
  virtual void on_sent(std::size_t bytes) = 0;
  // A recv or send failed (sys_errno positive). The handler calls close().
  virtual void on_error(int sys_errno) = 0;
  // The descriptor is closed; last call, the Socket may be destroyed inside it.
  virtual void on_closed() = 0;

 protected:
  ~SocketHandler() = default;
};

class Socket {
 public:
  // Takes ownership of `fd` (non-blocking).
  Socket(EventLoop& loop, int fd, SocketHandler& handler);
  ~Socket();  // checks that the close protocol has ended
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Arms one recv (no effect while one is armed, when the stream has ended or is closing).
  void recv();
  bool receiving() const { return recv_op_.in_flight(); }
  // `bytes` (not empty) stay untouched by the caller until on_sent, on_error or on_closed. One at a
  // time. No effect when closing.
  void send(std::span<const std::uint8_t> bytes);
  bool sending() const { return send_op_.in_flight(); }
  // Half-close: the peer sees the end of our bytes.
  void shutdown_write();
  // Starts the close protocol; idempotent. on_closed() follows from a later turn.
  void close();
  bool closing() const { return state_ != State::open; }
  int fd() const { return fd_; }

 private:
  enum class State : std::uint8_t { open, joining, closing, closed };
  struct OwnedOp : Op {
    Socket* socket = nullptr;
  };
  void recv_completed(const Completion& completion);
  void send_completed(const Completion& completion);
  void close_completed();
  void try_finish_close();

  EventLoop& loop_;
  int fd_;
  SocketHandler& handler_;
  State state_ = State::open;
  bool recv_ended_ = false;
  std::size_t sent_bytes_ = 0;  // of the send in flight, by its earlier short completions
  OwnedOp recv_op_;
  OwnedOp send_op_;
  OwnedOp close_op_;
};

}  // namespace weir::io
