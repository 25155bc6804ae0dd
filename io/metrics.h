#pragma once
// Metrics in a shared memory segment, so that they survive the process that counts: the supervisor
// owns it, and each serving process goes on with the counters of the one before.
// Counting is wait-free: each thread owns a row of 8-byte cells. Families are registered at start,
// before threads run, in any order. Bounded: kMetricCellsMax cells a row, kMetricThreadsMax rows;
// registering more is a check failure (families are ours, not the peer's).
// No tenant, principal or repository names in labels.

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/clock.h"
#include "io/error.h"

namespace weir::io {

inline constexpr std::size_t kMetricCellsMax = 8192;
inline constexpr std::size_t kMetricThreadsMax = 64;

enum class MetricKind : std::uint8_t { counter, gauge, histogram };

// Adds to a monotonically growing sum. Copyable handle; a default one counts nothing.
class Counter {
 public:
  void add(std::uint64_t amount = 1) const;

 private:
  friend class Metrics;
  std::uint32_t cell_ = 0;  // cell 0 is a sink
};

// A level: each thread adds and subtracts its own part; the value is the sum.
class Gauge {
 public:
  void add(std::int64_t amount) const;
  void set(std::int64_t value) const;  // this thread's part, for the only writer of a series

 private:
  friend class Metrics;
  std::uint32_t cell_ = 0;
};

// Seconds, in buckets that double from the first, plus sum and count.
class Histogram {
 public:
  void observe(Duration value) const;
  static constexpr std::size_t kBuckets = 23;   // first bound * 2^0 .. 2^21, +Inf
  static constexpr Duration kFirstBound = 1ms;  // .. 35 minutes

 private:
  friend class Metrics;
  std::uint32_t cell_ = 0;
  Duration first_bound_{};
};

class Metrics {
 public:
  // The process-wide registry over an anonymous segment until attach() is called.
  static Metrics& instance();

  // Registers or finds a series. `labels`: OpenMetrics form without braces, e.g. `op="fetch"`.
  Counter counter(std::string_view family, std::string_view labels, std::string_view help);
  Gauge gauge(std::string_view family, std::string_view labels, std::string_view help);
  // All series of a family have the same first bound.
  Histogram histogram(std::string_view family, std::string_view labels, std::string_view help,
                      Duration first_bound = Histogram::kFirstBound);

  // Uses `segment_fd` (memfd of segment_bytes()) from now on: cells are zeroed for gauges and kept
  // for counters when the segment already has content. Before other threads run.
  Result<void> attach(int segment_fd);
  static std::size_t segment_bytes();

  // OpenMetrics 1.0 text, ending in "# EOF\n". Any thread.
  std::string render_openmetrics() const;
  // Sum of one series over all threads; for tests.
  std::int64_t value(std::string_view family, std::string_view labels) const;

 private:
  Metrics();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::io
