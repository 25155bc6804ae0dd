#pragma once
// ConnectionMetrics: what is counted about connections and loops. Registered once, before loops
// run.

#include <array>

#include "io/metrics.h"
#include "io/stream.h"

namespace weir::server {

struct ConnectionMetrics {
  ConnectionMetrics();

  io::Counter accepted;
  io::Counter refused;  // over connections_max
  io::Gauge open;
  std::array<io::Counter, 7> closed;  // by io::CloseReason
  io::Gauge loop_turns;
  io::Gauge loop_busy_us;
  io::Gauge loop_turn_us_max;  // longest turn within the last second
  io::Gauge output_buffers;
  io::Gauge coroutine_frames;
};

}  // namespace weir::server
