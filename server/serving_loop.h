#pragma once
// ServingLoop: one loop thread of the serving process and everything that belongs to it: event
// loop, launcher client, git workers and planners, pipeline, listeners and open connections. Built
// on the main thread, run on its own; after start() everything but the atomics is touched on the
// loop thread only (post()).

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "git/planner_pool.h"
#include "git/worker_pool.h"
#include "http/server_connection.h"
#include "io/event_loop.h"
#include "io/listener.h"
#include "io/subprocess.h"
#include "server/connection_metrics.h"
#include "server/maintenance_job.h"
#include "server/pipeline.h"

namespace weir::server {

struct ServingLoopOptions {
  int index = 0;
  std::vector<int> listen_fds;
  bool listeners_end = false;  // sockets of this server alone: closed when accepting stops
  int launcher_fd = -1;
  std::int64_t connections_max = 0;  // of this loop; beyond: closed before TLS, counted
  git::WorkerPoolOptions workers;
  git::PlannerPoolOptions planners;                    // none: no planners
  git::PlannerDirectory* planner_directory = nullptr;  // of all loops; outlives them
  MaintenanceJobOptions maintenance;
};

class ServingLoop final : http::ConnectionRegistry {
 public:
  ServingLoop(ServingLoopOptions options, std::unique_ptr<io::EventLoop> loop, SharedStages shared,
              git::GitEnvironment environment, std::shared_ptr<const Policy> policy,
              const ConnectionMetrics& metrics);
  ~ServingLoop();

  // Starts the thread. `loops`: all of the process, for the accept hand-off. `on_failed` (any
  // thread) gets a text when the kernel interface could not be started.
  void start(const std::vector<ServingLoop*>& loops, std::function<void(std::string)> on_failed);
  // Takes a connection that another loop accepted, or this one. Loop thread.
  void adopt(int fd);
  // Any thread:
  void set_policy(std::shared_ptr<const Policy> policy);
  void reconnect_launcher(int fd);
  // Tells the connections there are to end, so that their clients open new ones while that is
  // possible; `on_drained` (loop thread) once accepting has stopped and nothing is left.
  void drain(std::function<void()> on_drained);
  // After drain(): no more connections. Those of the last moments are not told to end: there is
  // nobody they could go to.
  void stop_accepting();
  // Cuts the requests with these ids.
  void cut(std::vector<std::string> ids);
  // Cuts every connection; then drained as above.
  void abort_connections();
  // Ends the thread; after drain().
  void stop_and_join();

  io::EventLoop& event_loop() { return *loop_; }
  LiveRequests& live() { return pipeline_.live(); }
  std::int64_t connections() const { return connection_count_.load(std::memory_order_relaxed); }
  // Monotonic nanoseconds of the last sign of life; for health.
  std::int64_t heartbeat_ns() const { return heartbeat_ns_.load(std::memory_order_relaxed); }

 private:
  void on_connection_closed(http::ServerConnection& connection, io::CloseReason reason) override;
  void open_listeners(const std::vector<ServingLoop*>& loops);
  void beat();
  void maintain();
  void maybe_drained();
  io::Task<void> finish_drain();

  struct Beat : io::Timer {
    ServingLoop* owner;
  };

  const ServingLoopOptions options_;
  std::unique_ptr<io::EventLoop> loop_;
  const ConnectionMetrics& metrics_;
  LoopReport report_;
  std::unique_ptr<io::LauncherClient> launcher_;
  std::unique_ptr<git::WorkerPool> workers_;
  std::unique_ptr<git::PlannerPool> planners_;  // null: git answers every fetch
  Pipeline pipeline_;
  std::vector<io::EventLoop*> loops_;
  std::vector<ServingLoop*> peers_;
  std::vector<std::unique_ptr<io::Listener>> listeners_;
  std::size_t listeners_open_ = 0;
  io::IntrusiveList<http::ServerConnection> connections_;
  std::atomic<std::int64_t> connection_count_{0};
  std::atomic<std::int64_t> heartbeat_ns_{0};
  std::uint64_t next_connection_ = 0;
  Beat beat_;
  bool draining_ = false;
  bool accepting_ = true;
  std::function<void()> on_drained_;
  std::vector<std::pair<io::Instant, std::shared_ptr<const Policy>>> retired_policies_;
  io::TaskScope closing_;
  io::TaskScope maintenance_;
  std::thread thread_;
};

}  // namespace weir::server
