#include "server/connection_metrics.h"

#include <fmt/core.h>

namespace weir::server {

ConnectionMetrics::ConnectionMetrics() {
  io::Metrics& metrics = io::Metrics::instance();
  accepted = metrics.counter("weir_connections_accepted", "", "Connections accepted.");
  refused = metrics.counter("weir_connections_refused", "reason=\"connections_max\"",
                            "Connections closed before TLS.");
  open = metrics.gauge("weir_connections_open", "", "Open connections.");
  for (std::size_t i = 0; i < closed.size(); ++i) {
    closed[i] = metrics.counter(
        "weir_connections_closed",
        fmt::format("reason=\"{}\"", io::to_string(static_cast<io::CloseReason>(i))),
        "Connections closed, by reason.");
  }
  loop_turns = metrics.gauge("weir_loop_turns", "", "Turns of all event loops since their start.");
  loop_busy_us = metrics.gauge("weir_loop_busy_microseconds", "",
                               "Time spent outside waiting by all event loops since their start.");
  loop_turn_us_max = metrics.gauge("weir_loop_turn_max_microseconds", "",
                                   "Longest turn within the last second, summed over loops.");
  output_buffers = metrics.gauge("weir_output_buffers", "", "Output buffers in use.");
  coroutine_frames = metrics.gauge("weir_coroutine_frames", "", "Coroutine frames alive.");
}

}  // namespace weir::server
