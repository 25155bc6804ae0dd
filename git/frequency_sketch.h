#pragma once
// FrequencySketch: about how often each key was asked for lately, in 16 KiB however many keys there
// are (a count-min sketch that forgets: all counts are halved now and then). Errs upwards only. A
// value; one thread. After "TinyLFU: A Highly Efficient Cache Admission Policy", Einziger et al.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/digest.h"

namespace weir::git {

class FrequencySketch {
 public:
  static constexpr std::uint8_t kCountMax = 15;

  void add(const io::Sha256Digest& key) {
    for (std::size_t row = 0; row < kRows; ++row) {
      std::uint8_t& count = counts_[place(key, row)];
      if (count < kCountMax) ++count;
    }
    if (++added_ < kAddedMax) return;
    for (std::uint8_t& count : counts_) count /= 2;
    added_ = 0;
  }
  std::uint8_t count(const io::Sha256Digest& key) const {
    std::uint8_t least = kCountMax;
    for (std::size_t row = 0; row < kRows; ++row) least = std::min(least, counts_[place(key, row)]);
    return least;
  }

 private:
  static constexpr std::size_t kRows = 4;
  static constexpr std::size_t kColumns = 4096;
  static constexpr std::size_t kAddedMax = 10 * kColumns;

  // Keys are digests: any two of their bytes are as good as a hash function.
  static std::size_t place(const io::Sha256Digest& key, std::size_t row) {
    const std::size_t hash = key[2 * row] | static_cast<std::size_t>(key[2 * row + 1]) << 8;
    return row * kColumns + hash % kColumns;
  }

  std::vector<std::uint8_t> counts_ = std::vector<std::uint8_t>(kRows * kColumns);
  std::size_t added_ = 0;
};

}  // namespace weir::git
