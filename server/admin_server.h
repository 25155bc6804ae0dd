#pragma once
// AdminServer: health, metrics and status on a thread and an event loop of its own, so that a
// stalled serving loop does not silence it. Loopback TCP serves /healthz, /readyz and /metrics
// only; the 0600 UNIX socket serves those and /v1/*. Host must name this machine; no CORS; no TLS.
// Bounded: kAdminConnectionsMax. It reads what loops publish (atomics, LiveRequests), never waits
// for them.

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "http/server_connection.h"
#include "io/blocking_pool.h"
#include "io/event_loop.h"
#include "io/listener.h"
#include "io/task_scope.h"
#include "server/confinement.h"
#include "server/live_requests.h"

namespace weir::server {

// Of each door, the port and the private socket: users of this machine who fill the one do not shut
// the other. A newcomer beyond takes the place of the oldest, so that silent ones do not stay.
inline constexpr std::size_t kAdminConnectionsMax = 64;
// A loop that showed no sign of life for so long is stalled: /healthz fails.
inline constexpr io::Duration kLoopStalledAfter = std::chrono::seconds(5);

struct LoopStatus {
  std::int64_t heartbeat_ns = 0;  // monotonic
  std::int64_t connections = 0;
};

// What the admin thread asks the serving process. All callable from any thread at any time.
struct AdminSources {
  std::function<std::vector<LoopStatus>()> loops;
  std::function<std::vector<LiveRequestRow>(io::Instant now)> requests;
  std::function<bool()> ready;
  std::function<bool()> draining;
  // By "<tenant>/<path>", as JSON; runs on the pool, which outlives the server.
  std::function<io::Result<std::string>(const std::string& name)> layout;
  io::BlockingPool* blocking = nullptr;
  std::string io_backend;  // "io_uring"
  std::vector<ConfinementPart> confinement;
  std::vector<std::string> addresses;
  std::int64_t started_unix_ns = 0;
  std::uint32_t serving_generation = 0;  // how often the serving process was started before
};

class AdminServer final : http::ExchangeHandler, http::ConnectionRegistry {
 public:
  AdminServer(std::unique_ptr<io::EventLoop> loop, int tcp_fd, int unix_fd, AdminSources sources);
  ~AdminServer();
  void start();
  void stop_and_join();

 private:
  void on_exchange(http::Exchange& exchange) override;
  http::HeadLimits head_limits(std::string_view method, std::string_view target) override;
  void on_refused(const io::StreamInfo& peer, int status, std::string_view reason) override;
  void on_connection_closed(http::ServerConnection& connection, io::CloseReason reason) override;
  io::Task<void> serve(http::Exchange& exchange);
  io::Task<io::Result<std::string>> layout(std::string name);
  std::string health(int& status) const;
  std::string status_json() const;
  void open(int fd, bool is_private);
  void adopt(int fd, bool is_private);
  void finish_if_idle();

  std::unique_ptr<io::EventLoop> loop_;
  AdminSources sources_;
  int tcp_fd_, unix_fd_;
  std::vector<io::EventLoop*> loops_;
  std::vector<std::unique_ptr<io::Listener>> listeners_;
  struct Door {
    io::IntrusiveList<http::ServerConnection> connections;  // oldest first
    std::size_t open = 0;                                   // those that are closing too
  };
  std::array<Door, 2> doors_;  // the port, the private socket
  std::uint64_t next_connection_ = 0;
  io::TaskScope scope_;
  std::size_t listeners_open_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace weir::server
