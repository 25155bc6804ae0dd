#pragma once
// ConnectionMetrics: what is counted about connections and loops. Registered once, before loops
// run. LoopReport: what one loop has published of its running totals, so that each second only the
// growth is added; loop thread only.

#include <array>
#include <memory>
#include <vector>

#include "io/event_loop.h"
#include "io/listener.h"
#include "io/metrics.h"
#include "io/stream.h"

namespace weir::server {

struct ConnectionMetrics {
  explicit ConnectionMetrics(int loops);

  io::Counter accepted;
  io::Counter refused;           // over connections_max
  io::Counter refused_draining;  // accepted while draining
  io::Counter handed_off;        // to a loop with fewer connections
  io::Counter accepting_paused;  // no descriptors left
  io::Gauge open;
  std::array<io::Counter, 7> closed;  // by io::CloseReason
  io::Counter closed_draining;        // of them, while draining
  io::Counter loop_turns;
  io::Counter loop_completions;
  io::Counter loop_busy_us;
  io::Counter loop_slow_turns;  // longer than io::kSlowTurn
  io::Histogram loop_turn_time;
  io::Counter loop_run_queue_us;            // ready to run, but other threads had the core
  std::vector<io::Gauge> loop_turn_us_max;  // [loop]: longest turn within the last second
  io::Gauge mailbox_waiting;
  io::Gauge recvs_parked;
  io::Counter recvs_parked_total;
  io::Counter submits_deferred;
  io::Gauge output_buffers;
  io::Gauge coroutine_frames;
  io::Gauge upload_window_bytes;
};

class LoopReport {
 public:
  explicit LoopReport(const ConnectionMetrics& metrics) : metrics_(metrics) {}
  void publish(io::EventLoop& loop, const std::vector<std::unique_ptr<io::Listener>>& listeners);

 private:
  // Adds what `total` grew by since it was last told.
  static void grow(const io::Counter& counter, std::uint64_t total, std::uint64_t& told);
  // The same for a level. Not Gauge::set(): the threads of many loops may share a row of cells.
  static void change(const io::Gauge& gauge, std::int64_t level, std::int64_t& told);

  const ConnectionMetrics& metrics_;
  std::uint64_t turns_ = 0, completions_ = 0, busy_us_ = 0, slow_turns_ = 0, run_queue_us_ = 0;
  std::uint64_t handed_off_ = 0, paused_ = 0, recvs_parked_total_ = 0, submits_deferred_ = 0;
  std::int64_t mailbox_waiting_ = 0, recvs_parked_ = 0, output_buffers_ = 0, frames_ = 0;
};

}  // namespace weir::server
