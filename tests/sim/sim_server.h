#pragma once
// SimServer: the server side of a simulated run: real listeners, connections and sessions, and
// handlers that do what the script says of each request. Checks what a handler may see: a body that
// is complete is the one that was sent; bytes lent to write() are not read after it returned.

#include <string>

#include "http/exchange.h"
#include "http/server_connection.h"
#include "io/listener.h"
#include "io/task_scope.h"
#include "tests/sim/script.h"

namespace weir::sim {

class SimServer final : public http::ExchangeHandler, public http::ConnectionRegistry {
 public:
  SimServer(io::EventLoop& loop, io::SimulatedBackend& backend, Script& script, io::TlsContext& tls,
            std::vector<std::string>& violations);
  ~SimServer();

  void start();
  // Stops listening and asks every connection to end when it can.
  void drain();
  bool draining() const { return draining_; }
  bool idle() const {
    return connections_.empty() && scope_.running() == 0 && stopped_listeners_ == 2;
  }
  std::size_t connections() const { return connection_count_; }
  int listener(bool tls) const { return tls ? tls_fd_ : plain_fd_; }

 private:
  void on_exchange(http::Exchange& exchange) override;
  http::HeadLimits head_limits(std::string_view, std::string_view) override {
    return http::kHeadLimitsDefault;
  }
  void on_refused(const io::StreamInfo&, int, std::string_view) override {}
  void on_connection_closed(http::ServerConnection& connection, io::CloseReason reason) override;
  void accept(int fd, bool tls);
  void stopped(int listener_fd);

  io::Task<void> serve(http::Exchange& exchange);
  io::Task<void> answer(http::Exchange& exchange, Request& request);
  io::Task<bool> write_answer(http::Exchange& exchange, Request& request, std::size_t bytes);
  io::Task<bool> read_upload(http::Exchange& exchange, Request& request);
  io::Task<bool> echo(http::Exchange& exchange, Request& request);
  io::Task<bool> pass_file(http::Exchange& exchange, Request& request);
  io::Task<bool> write_copy(http::Exchange& exchange, std::span<const std::uint8_t> bytes);

  io::EventLoop& loop_;
  io::SimulatedBackend& backend_;
  Script& script_;
  io::TlsContext& tls_;
  std::vector<std::string>& violations_;
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
  io::TaskScope scope_;
};

}  // namespace weir::sim
