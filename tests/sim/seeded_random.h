#pragma once
// SeededRandom: the only source of chance in a simulated run (splitmix64): the same seed is the
// same run on every machine. One owner; copied to make an independent stream.

#include <cstdint>

#include "io/clock.h"

namespace weir::io {

class SeededRandom {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
    return mixed ^ (mixed >> 31);
  }
  // From `low` to `high`, both included.
  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + next() % (high - low + 1);
  }
  bool one_in(std::uint64_t odds) { return odds != 0 && next() % odds == 0; }
  // Up to `high`, small values as likely as large ones: each order of magnitude has its share.
  std::uint64_t up_to(std::uint64_t high) {
    std::uint64_t bound = high;
    while (bound > 1 && one_in(3)) bound /= 8;
    return between(0, bound);
  }
  Duration duration_up_to(Duration high) {
    return Duration(static_cast<Duration::rep>(up_to(static_cast<std::uint64_t>(high.count()))));
  }

 private:
  std::uint64_t state_;
};

}  // namespace weir::io
