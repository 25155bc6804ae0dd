#pragma once
// SimFront: the front of a simulated server: a plain and a TLS listener, and the real connections
// that are accepted from them, for a handler of requests. Owned by the run; one loop.

#include "http/server_connection.h"
#include "io/listener.h"
#include "tests/sim/simulated_backend.h"

namespace weir::sim {

class SimFront final : public http::ConnectionRegistry {
 public:
  SimFront(io::EventLoop& loop, io::SimulatedBackend& backend, io::TlsContext& tls,
           http::ExchangeHandler& handler);
  ~SimFront();

  void start();
  // Stops listening and asks every connection to end when it can.
  void drain();
  bool draining() const { return draining_; }
  // Drained, and nothing is left.
  bool idle() const { return connections_.empty() && stopped_listeners_ == 2; }
  std::size_t connections() const { return connection_count_; }
  int listener(bool tls) const { return tls ? tls_fd_ : plain_fd_; }

 private:
  void on_connection_closed(http::ServerConnection& connection, io::CloseReason reason) override;
  void accept(int fd, bool tls);
  void stopped(int listener_fd);

  io::EventLoop& loop_;
  io::SimulatedBackend& backend_;
  io::TlsContext& tls_;
  http::ExchangeHandler& handler_;
  const int plain_fd_;
  const int tls_fd_;
  const std::vector<io::EventLoop*> loops_;
  io::Listener plain_;
  io::Listener secure_;
  int stopped_listeners_ = 0;
  bool draining_ = false;
  std::uint64_t last_id_ = 0;
  std::size_t connection_count_ = 0;
  io::IntrusiveList<http::ServerConnection> connections_;
};

}  // namespace weir::sim
