#include "io/write_scheduler.h"

#include <algorithm>

namespace weir::io {

WriteScheduler::~WriteScheduler() {
  while (!active_.empty()) active_.pop_front();
}

void WriteScheduler::ready(WriteSource& source, WriteFlow flow) {
  if (source.linked()) return;
  Flow& queue = flows_[flow.id];
  queue.id = flow.id;
  queue.weight = std::clamp(flow.weight, std::uint32_t{1}, kWriteWeightMax);
  queue.sources.push_back(source);
  if (!queue.linked()) active_.push_back(queue);
}

std::size_t WriteScheduler::serve(WriteSource& source, Flow& flow, std::size_t turn_bytes_left) {
  const std::size_t bytes_max =
      std::min(static_cast<std::size_t>(flow.deficit_bytes), turn_bytes_left);
  const std::size_t cost = std::max(source.write_some(bytes_max), kWriteCallBytesMin);
  flow.deficit_bytes -= static_cast<std::int64_t>(cost);
  return cost;
}

bool WriteScheduler::run() {
  std::size_t bytes_left = kWriteTurnBytesMax;
  while (!active_.empty() && bytes_left > 0) {
    Flow& flow = active_.front();
    if (!flow.served) {
      flow.served = true;
      flow.deficit_bytes += static_cast<std::int64_t>(kWriteQuantumBytes) * flow.weight;
    }
    while (!flow.sources.empty() && flow.deficit_bytes > 0 && bytes_left > 0) {
      const std::size_t cost = serve(flow.sources.pop_front(), flow, bytes_left);
      bytes_left -= std::min(cost, bytes_left);
    }
    if (flow.sources.empty()) {  // nothing to send: no credit is kept
      flow.unlink();
      flows_.erase(flow.id);
    } else if (flow.deficit_bytes <= 0) {
      flow.served = false;
      flow.unlink();
      active_.push_back(flow);
    }
  }
  return !active_.empty();
}

std::size_t WriteScheduler::flows_waiting() const {
  return flows_.size();
}

}  // namespace weir::io
