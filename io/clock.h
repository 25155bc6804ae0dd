#pragma once
// Time. Deadlines and timers use Instant (CLOCK_MONOTONIC); records for people and stored stamps
// use unix time. Clocks are injected so that tests run on a manual one.

#include <chrono>
#include <cstdint>

namespace weir::io {

using Duration = std::chrono::nanoseconds;
using Instant = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using namespace std::chrono_literals;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() const = 0;
  virtual std::int64_t unix_ns() const = 0;
};

class SystemClock final : public Clock {
 public:
  Instant now() const override { return std::chrono::steady_clock::now(); }
  std::int64_t unix_ns() const override {
    return std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};

class ManualClock final : public Clock {
 public:
  // The unix time of an Instant of 0.
  explicit ManualClock(std::int64_t unix_offset_ns = 1'700'000'000'000'000'000)
      : unix_offset_ns_(unix_offset_ns) {}
  Instant now() const override { return now_; }
  std::int64_t unix_ns() const override {
    return now_.time_since_epoch().count() + unix_offset_ns_;
  }
  void advance(Duration by) { now_ += by; }

 private:
  Instant now_{Duration{1'000'000'000}};
  std::int64_t unix_offset_ns_;
};

// A point in time after which the caller no longer wants the answer.
struct Deadline {
  Instant at = Instant::max();

  static Deadline never() { return {}; }
  static Deadline after(Instant now, Duration by) { return {now + by}; }
  bool is_never() const { return at == Instant::max(); }
  bool passed(Instant now) const { return now >= at; }
};

}  // namespace weir::io
