#include "server/serving_loop.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "io/log.h"

namespace weir::server {
namespace {

constexpr io::Duration kBeat = std::chrono::seconds(1);
// Longer than a handshake may take: contexts are only needed until then.
constexpr io::Duration kRetiredPolicyKept = io::kHandshakeTimeout + std::chrono::seconds(5);

// Numeric address of the peer, "" for UNIX sockets.
std::string peer_of(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  char text[INET6_ADDRSTRLEN] = "";
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return "";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6&>(address).sin6_addr, text, sizeof text);
  }
  return text;
}

std::unique_ptr<git::PlannerPool> make_planners(io::EventLoop& loop, io::Spawner& launcher,
                                                io::BlockingPool& blocking,
                                                const ServingLoopOptions& options) {
  if (options.planners.planners == 0) return nullptr;
  return std::make_unique<git::PlannerPool>(loop, launcher, blocking, *options.planner_directory,
                                            options.planners);
}

}  // namespace

ServingLoop::ServingLoop(ServingLoopOptions options, std::unique_ptr<io::EventLoop> loop,
                         SharedStages shared, git::GitEnvironment environment,
                         std::shared_ptr<const Policy> policy, const ConnectionMetrics& metrics)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      metrics_(metrics),
      report_(metrics),
      launcher_(std::make_unique<io::LauncherClient>(*loop_, options_.launcher_fd)),
      workers_(std::make_unique<git::WorkerPool>(*loop_, *launcher_, options_.workers)),
      planners_(make_planners(*loop_, *launcher_, *environment.blocking, options_)),
      pipeline_(
          *loop_, shared,
          [&] {
            environment.launcher = launcher_.get();
            environment.workers = workers_.get();
            environment.planners = planners_.get();
            return std::move(environment);
          }(),
          std::move(policy)) {
  loop_->observe_turns(metrics_.loop_turn_time);
  beat_.owner = this;
  beat_.on_expire = [](io::Timer& self) { static_cast<Beat&>(self).owner->beat(); };
}

ServingLoop::~ServingLoop() {
  WEIR_CHECK(!thread_.joinable());
}

void ServingLoop::start(const std::vector<ServingLoop*>& loops,
                        std::function<void(std::string)> on_failed) {
  // From here, so that it comes before a drain(), however late the thread gets a core.
  loop_->post([this, loops] { open_listeners(loops); });
  thread_ = std::thread([this, on_failed = std::move(on_failed)] {
    const std::string name = "weir-loop-" + std::to_string(options_.index);
    pthread_setname_np(pthread_self(), name.c_str());
    const io::Result<void> ran = loop_->run();
    if (!ran) on_failed(io::to_string(ran.error()));
  });
}

void ServingLoop::open_listeners(const std::vector<ServingLoop*>& loops) {
  peers_ = loops;
  for (ServingLoop* peer : loops) loops_.push_back(&peer->event_loop());
  for (const int fd : options_.listen_fds) {
    listeners_.push_back(std::make_unique<io::Listener>(
        *loop_, fd, loops_, [this](io::EventLoop& owner, int accepted) {
          peers_[static_cast<std::size_t>(owner.index())]->adopt(accepted);
        }));
    listeners_.back()->start();
  }
  listeners_open_ = listeners_.size();
  beat();
}

void ServingLoop::adopt(int fd) {
  metrics_.accepted.add();
  const bool drained = draining_ && !on_drained_;  // handed over by a loop that was slower
  if (drained || connections() >= options_.connections_max) {
    (drained ? metrics_.refused_draining : metrics_.refused).add();
    loop_->load().fetch_sub(1, std::memory_order_relaxed);  // the listener counted it
    ::close(fd);
    return;
  }
  const std::shared_ptr<const Policy>& policy = pipeline_.policy();
  io::StreamOptions stream;
  stream.tls = policy->tls.get();
  if (!policy->proxy_protocol_networks.empty()) {
    stream.expect_proxy_v2 = policy->proxy_protocol_networks.contains(peer_of(fd));
  }
  // The top byte keeps ids of different loops apart.
  const std::uint64_t id =
      (static_cast<std::uint64_t>(options_.index + 1) << 56) | ++next_connection_;
  http::ConnectionRegistry& registry = *this;
  auto connection = std::make_unique<http::ServerConnection>(*loop_, fd, id, std::move(stream),
                                                             pipeline_, registry);
  http::ServerConnection& opened = *connection.release();  // destroys itself when it has closed
  connections_.push_back(opened);
  connection_count_.fetch_add(1, std::memory_order_relaxed);
  metrics_.open.add(1);
  opened.start();
}

void ServingLoop::on_connection_closed(http::ServerConnection& connection, io::CloseReason reason) {
  connection.unlink();
  connection_count_.fetch_sub(1, std::memory_order_relaxed);
  loop_->load().fetch_sub(1, std::memory_order_relaxed);
  metrics_.open.add(-1);
  metrics_.closed[static_cast<std::size_t>(reason)].add();
  if (draining_) metrics_.closed_draining.add();
  maybe_drained();
}

void ServingLoop::beat() {
  heartbeat_ns_.store(loop_->clock().now().time_since_epoch().count(), std::memory_order_relaxed);
  report_.publish(*loop_, listeners_);
  pipeline_.housekeeping();
  if (planners_ != nullptr) planners_->housekeeping();
  maintain();
  std::erase_if(retired_policies_, [this](const auto& retired) {
    return loop_->now() - retired.first > kRetiredPolicyKept;
  });
  loop_->timers().arm(beat_, loop_->now() + kBeat);
}

void ServingLoop::maintain() {
  if (draining_ || options_.maintenance.schedule == nullptr) return;
  auto repository = options_.maintenance.schedule->next(loop_->now());
  if (repository == nullptr) return;
  maintenance_.spawn(run_maintenance(*loop_, *launcher_, options_.maintenance,
                                     std::move(repository), maintenance_.token()));
}

void ServingLoop::set_policy(std::shared_ptr<const Policy> policy) {
  loop_->post([this, policy = std::move(policy)] {
    retired_policies_.emplace_back(loop_->now(), pipeline_.policy());
    pipeline_.set_policy(policy);
  });
}

void ServingLoop::reconnect_launcher(int fd) {
  loop_->post([this, fd] { launcher_->reconnect(fd); });
}

void ServingLoop::drain(std::function<void()> on_drained) {
  loop_->post([this, on_drained = std::move(on_drained)]() mutable {
    if (draining_) return;
    draining_ = true;
    maintenance_.request_stop();
    on_drained_ = std::move(on_drained);
    http::ServerConnection* next = nullptr;
    for (http::ServerConnection* at = connections_.first(); at != nullptr; at = next) {
      next = connections_.next(*at);
      at->drain();
    }
  });
}

void ServingLoop::stop_accepting() {
  loop_->post([this] {
    accepting_ = false;
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      listeners_[i]->stop([this, fd = options_.listen_fds[i]] {
        // Left open it would keep clients waiting in a queue that nobody takes from.
        if (options_.listeners_end) ::shutdown(fd, SHUT_RDWR);
        --listeners_open_;
        maybe_drained();
      });
    }
    maybe_drained();
  });
}

void ServingLoop::cut(std::vector<std::string> ids) {
  loop_->post([this, ids = std::move(ids)] { pipeline_.live().cut(ids); });
}

void ServingLoop::abort_connections() {
  loop_->post([this] {
    http::ServerConnection* next = nullptr;
    for (http::ServerConnection* at = connections_.first(); at != nullptr; at = next) {
      next = connections_.next(*at);
      at->abort();
    }
  });
}

void ServingLoop::maybe_drained() {
  if (accepting_ || !on_drained_ || listeners_open_ > 0 || connections() > 0) return;
  closing_.spawn(finish_drain());
}

io::Task<void> ServingLoop::finish_drain() {
  const std::function<void()> on_drained = std::exchange(on_drained_, nullptr);
  if (!on_drained) co_return;
  co_await pipeline_.join();
  co_await maintenance_.join();
  if (planners_ != nullptr) co_await planners_->close();
  co_await workers_->close();
  co_await launcher_->close();
  loop_->timers().cancel(beat_);
  on_drained();
}

void ServingLoop::stop_and_join() {
  loop_->stop();
  thread_.join();
}

}  // namespace weir::server
