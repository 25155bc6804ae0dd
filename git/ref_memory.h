#pragma once
// RefMemory: the bytes of a part of a ref snapshot (a packed-refs file, a chunk, the rest), counted
// as long as the part lives, whoever keeps it alive: the store, a request under way, a session
// record. The part owns one and tells its size. Any thread may ask for the sum.

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "io/metrics.h"

namespace weir::git {

class RefMemory {
 public:
  RefMemory() = default;
  ~RefMemory() { add(-static_cast<std::int64_t>(bytes_)); }
  RefMemory(const RefMemory&) = delete;
  RefMemory& operator=(const RefMemory&) = delete;

  void grow(std::size_t bytes) {
    bytes_ += bytes;
    add(static_cast<std::int64_t>(bytes));
  }

  static std::size_t live_bytes() {
    return static_cast<std::size_t>(sum().load(std::memory_order_relaxed));
  }

 private:
  static std::atomic<std::int64_t>& sum() {
    static std::atomic<std::int64_t> bytes{0};
    return bytes;
  }
  static void add(std::int64_t bytes) {
    static const io::Gauge gauge = io::Metrics::instance().gauge(
        "weir_refs_live_bytes", "",
        "Memory of all ref snapshots in use, kept by the store or by requests and sessions.");
    gauge.add(bytes);
    sum().fetch_add(bytes, std::memory_order_relaxed);
  }

  std::size_t bytes_ = 0;
};

}  // namespace weir::git
