#pragma once
// Semaphore: threads wait for tokens that other threads give. Giving never waits: a condition
// variable's signal takes a lock inside, whose holder may have lost its core, and the giver here is
// an event loop. Any thread; owned by whoever waits, outlives the givers.

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <optional>

#include "io/clock.h"

namespace weir::io {

class Semaphore {
 public:
  void give(std::uint32_t tokens = 1) {
    tokens_.fetch_add(tokens);
    if (waiting_.load() > 0) futex(FUTEX_WAKE_PRIVATE, tokens, nullptr);
  }

  // False: none came within `time_max`.
  bool take(std::optional<Duration> time_max = std::nullopt) {
    const Instant end = time_max ? std::chrono::steady_clock::now() + *time_max : Instant::max();
    for (;;) {
      if (try_take()) return true;
      timespec left = {};
      if (time_max) {
        const std::int64_t ns = (end - std::chrono::steady_clock::now()).count();
        if (ns <= 0) return false;
        left = {ns / 1'000'000'000, ns % 1'000'000'000};
      }
      waiting_.fetch_add(1);
      futex(FUTEX_WAIT_PRIVATE, 0, time_max ? &left : nullptr);  // not if a token has come
      waiting_.fetch_sub(1);
    }
  }

 private:
  bool try_take() {
    std::uint32_t there = tokens_.load();
    while (there > 0) {
      if (tokens_.compare_exchange_weak(there, there - 1)) return true;
    }
    return false;
  }
  void futex(int operation, std::uint32_t value, const timespec* time_max) {
    syscall(SYS_futex, &tokens_, operation, value, time_max, nullptr, 0);
  }

  std::atomic<std::uint32_t> tokens_{0};
  std::atomic<std::uint32_t> waiting_{0};
  static_assert(sizeof(std::atomic<std::uint32_t>) == 4);
};

}  // namespace weir::io
