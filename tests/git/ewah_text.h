#pragma once
// Compressed bitmaps, true and false ones, written by tests.

#include <vector>

#include "tests/git/big_endian_bytes.h"

namespace weir::git {

inline std::uint64_t ewah_marker(bool ones, std::uint64_t run, std::uint64_t literals) {
  return (ones ? 1 : 0) | run << 1 | literals << 33;
}

inline std::string ewah_bytes(std::uint32_t bits, const std::vector<std::uint64_t>& words,
                              std::uint32_t last_marker = 0) {
  BigEndianBytes bytes;
  bytes.u32(bits).u32(words.size());
  for (const std::uint64_t word : words) bytes.u64(word);
  return bytes.u32(last_marker).str();
}

// The bits of one word.
inline std::string ewah_of(std::uint64_t literal, std::uint32_t bits = 64) {
  return ewah_bytes(bits, {ewah_marker(false, 0, 1), literal});
}

}  // namespace weir::git
