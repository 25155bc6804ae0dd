#pragma once
// Deflated object data and deltas, in whole buffers (libdeflate, zlib for heads). Input is hostile;
// output is bounded by what the caller says. Not thread-safe: one of each a planner. Formats: RFC
// 1950, gitformat-pack(5) "Deltified representation".

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "io/error.h"

namespace weir::git {

// No stream of so many bytes inflates to more (258 bytes of two bits): what a size that a file
// claims is held against before memory is taken for it.
constexpr std::uint64_t inflated_bytes_max(std::uint64_t bytes) {
  return bytes > UINT64_MAX / 1032 ? UINT64_MAX : bytes * 1032;
}

class Inflater {
 public:
  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  // Exactly `out.size()` bytes from a zlib stream that begins `in` and may end before `in` does.
  // Returns how many bytes of `in` it took. Errc::corrupt otherwise.
  io::Result<std::size_t> inflate(std::span<const std::uint8_t> in, std::span<std::uint8_t> out);
  // The first min(out.size(), whole) bytes, for heads of long streams; returns how many. For these
  // few bytes zlib, since libdeflate knows no parts.
  io::Result<std::size_t> inflate_head(std::span<const std::uint8_t> in,
                                       std::span<std::uint8_t> out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Deflater {
 public:
  explicit Deflater(int level);  // 0..12
  ~Deflater();
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  // Appends a zlib stream to `out`.
  void deflate(std::span<const std::uint8_t> in, std::string& out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct DeltaSizes {
  std::uint64_t base = 0;
  std::uint64_t result = 0;
  std::size_t head_bytes = 0;  // what the two took of the delta
};
std::optional<DeltaSizes> delta_sizes(std::span<const std::uint8_t> delta);
// `out` has DeltaSizes::result bytes and does not overlap `base`. False: the delta is malformed or
// is not one of this base.
bool apply_delta(std::span<const std::uint8_t> base, std::span<const std::uint8_t> delta,
                 std::span<std::uint8_t> out);

}  // namespace weir::git
