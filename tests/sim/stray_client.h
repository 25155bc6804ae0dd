#pragma once
// StrayClient: a peer that is no HTTP client, on a bare Socket: says nothing, or garbage, half a
// head, or a request whose answer it does not read, or ends its side at once. Leaves when told to.

#include <optional>
#include <string>

#include "io/signal.h"
#include "io/socket.h"
#include "tests/sim/script.h"

namespace weir::sim {

class StrayClient final : io::SocketHandler {
 public:
  StrayClient(io::EventLoop& loop, int fd, const StrayScript& script) : script_(script) {
    io::SocketHandler& handler = *this;
    socket_.emplace(loop, fd, handler);
    if (script.kind != StrayKind::deaf) socket_->recv();
    const std::string path = "/" + std::to_string(script.request->number);
    switch (script.kind) {
      case StrayKind::silent:
        return;
      case StrayKind::garbage:
        to_send_ = "\x16\x03\x01 what is this?\r\n\r\n";
        break;
      case StrayKind::half_head:
        to_send_ = "GET " + path + " HTTP/1.1\r\nHost:";
        break;
      case StrayKind::deaf:
      case StrayKind::half_closed:
        to_send_ = "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
        break;
    }
    socket_->send({reinterpret_cast<const std::uint8_t*>(to_send_.data()), to_send_.size()});
  }
  void leave() {
    if (socket_) socket_->close();
  }
  bool closed() const { return !socket_; }
  // Until the other side has ended the connection.
  io::Signal ended;
  io::Signal gone;
  const std::string& received() const { return received_; }

 private:
  void on_recv(std::span<const std::uint8_t> bytes) override {
    if (bytes.empty()) return ended.notify();
    received_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    socket_->recv();
  }
  void on_sent(std::size_t) override {
    if (script_.kind == StrayKind::half_closed) socket_->shutdown_write();
  }
  void on_error(int) override { ended.notify(); }
  void on_closed() override {
    socket_.reset();
    gone.notify();
  }

  const StrayScript& script_;
  std::optional<io::Socket> socket_;
  std::string to_send_;
  std::string received_;
};

}  // namespace weir::sim
