#include "server/connection_metrics.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "http/http2_flow_control.h"
#include "io/buffer_recycler.h"
#include "io/frame_pool.h"

namespace weir::server {
namespace {

constexpr io::Duration kTurnFirstBound = std::chrono::microseconds(16);  // .. 34 s

// How long the calling thread has been ready to run while others had the core, since it began: the
// second number of its schedstat (proc(5)). 0 where the kernel does not count it.
std::uint64_t run_queue_ns() {
  const int fd = ::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[128] = "";
  const ssize_t bytes = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  char* rest = text;
  std::strtoull(rest, &rest, 10);  // on the core
  return bytes > 0 ? std::strtoull(rest, &rest, 10) : 0;
}

}  // namespace

ConnectionMetrics::ConnectionMetrics(int loops) {
  io::Metrics& metrics = io::Metrics::instance();
  accepted = metrics.counter("weir_connections_accepted", "", "Connections accepted.");
  constexpr std::string_view kRefused = "weir_connections_refused";
  constexpr std::string_view kRefusedHelp = "Connections closed before TLS.";
  refused = metrics.counter(kRefused, "reason=\"connections_max\"", kRefusedHelp);
  refused_draining = metrics.counter(kRefused, "reason=\"draining\"", kRefusedHelp);
  handed_off = metrics.counter("weir_connections_handed_off", "",
                               "Connections handed to a loop that had fewer.");
  accepting_paused = metrics.counter("weir_accepting_paused", "",
                                     "Times accepting paused for want of descriptors or memory.");
  open = metrics.gauge("weir_connections_open", "", "Open connections.");
  for (std::size_t i = 0; i < closed.size(); ++i) {
    closed[i] = metrics.counter(
        "weir_connections_closed",
        fmt::format("reason=\"{}\"", io::to_string(static_cast<io::CloseReason>(i))),
        "Connections closed, by reason.");
  }
  closed_draining = metrics.counter("weir_connections_closed_draining", "",
                                    "Connections closed while the server was draining.");
  loop_turns = metrics.counter("weir_loop_turns", "", "Turns of all event loops.");
  loop_completions =
      metrics.counter("weir_loop_completions", "", "Completions that event loops have run.");
  loop_busy_us = metrics.counter("weir_loop_busy_microseconds", "",
                                 "Time spent outside waiting by all event loops.");
  loop_slow_turns =
      metrics.counter("weir_loop_slow_turns", "", "Turns of event loops longer than 5 ms.");
  loop_turn_time =
      metrics.histogram("weir_loop_turn_seconds", "",
                        "Length of the turns of event loops, run queue included.", kTurnFirstBound);
  loop_run_queue_us =
      metrics.counter("weir_loop_run_queue_microseconds", "",
                      "Time in which event loops could have run but other threads had the core.");
  for (int i = 0; i < loops; ++i) {
    loop_turn_us_max.push_back(metrics.gauge("weir_loop_turn_max_microseconds",
                                             fmt::format("loop=\"{}\"", i),
                                             "Longest turn within the last second."));
  }
  mailbox_waiting = metrics.gauge("weir_loop_mailbox_waiting", "",
                                  "Messages of other threads that loops have not run yet.");
  recvs_parked =
      metrics.gauge("weir_recvs_parked", "", "Receives that wait for a buffer at the moment.");
  recvs_parked_total = metrics.counter("weir_recvs_parked_ever", "",
                                       "Receives that found no buffer and had to wait.");
  submits_deferred = metrics.counter("weir_loop_submits_deferred", "",
                                     "Operations that found the submission queue full.");
  output_buffers = metrics.gauge("weir_output_buffers", "", "Output buffers in use.");
  coroutine_frames = metrics.gauge("weir_coroutine_frames", "", "Coroutine frames alive.");
  upload_window_bytes = metrics.gauge("weir_upload_window_bytes", "",
                                      "HTTP/2 upload windows granted from the common budget.");
}

void LoopReport::grow(const io::Counter& counter, std::uint64_t total, std::uint64_t& told) {
  counter.add(total - std::exchange(told, total));
}

void LoopReport::change(const io::Gauge& gauge, std::int64_t level, std::int64_t& told) {
  gauge.add(level - std::exchange(told, level));
}

void LoopReport::publish(io::EventLoop& loop,
                         const std::vector<std::unique_ptr<io::Listener>>& listeners) {
  const io::EventLoopStats stats = loop.stats();
  grow(metrics_.loop_turns, stats.turns, turns_);
  grow(metrics_.loop_completions, stats.completions, completions_);
  grow(metrics_.loop_busy_us, stats.busy_ns / 1000, busy_us_);
  grow(metrics_.loop_slow_turns, stats.slow_turns, slow_turns_);
  grow(metrics_.loop_run_queue_us, run_queue_ns() / 1000, run_queue_us_);
  metrics_.loop_turn_us_max[static_cast<std::size_t>(loop.index())].set(
      static_cast<std::int64_t>(stats.turn_ns_max / 1000));
  change(metrics_.mailbox_waiting, static_cast<std::int64_t>(loop.mailbox_waiting()),
         mailbox_waiting_);

  const io::BackendStats& backend = loop.backend().stats();
  change(metrics_.recvs_parked, backend.recvs_parked.load(std::memory_order_relaxed),
         recvs_parked_);
  grow(metrics_.recvs_parked_total, backend.recvs_parked_total.load(std::memory_order_relaxed),
       recvs_parked_total_);
  grow(metrics_.submits_deferred, backend.submits_deferred.load(std::memory_order_relaxed),
       submits_deferred_);

  std::uint64_t handed_off = 0;
  std::uint64_t paused = 0;
  for (const std::unique_ptr<io::Listener>& listener : listeners) {
    handed_off += listener->stats().handed_off.load(std::memory_order_relaxed);
    paused += listener->stats().paused.load(std::memory_order_relaxed);
  }
  grow(metrics_.handed_off, handed_off, handed_off_);
  grow(metrics_.accepting_paused, paused, paused_);

  change(metrics_.output_buffers, io::output_buffers_lent(), output_buffers_);
  change(metrics_.coroutine_frames, io::frames_live(), frames_);
  // One budget of the process: one loop tells.
  if (loop.index() == 0) metrics_.upload_window_bytes.set(http::upload_window_budget_used());
}

}  // namespace weir::server
