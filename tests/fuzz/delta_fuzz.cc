// A delta of any bytes, applied to a base of any bytes: refused, or its result is exactly as long
// as it said. Input: the length of the base (2 bytes, little-endian), base, delta.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "git/object_codec.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 2) return 0;
  const std::span<const std::uint8_t> input(data + 2, bytes - 2);
  const std::size_t base_bytes = std::min(data[0] | std::size_t{data[1]} << 8, input.size());
  // Copies, so that a read behind either is seen.
  const std::vector<std::uint8_t> base(input.begin(),
                                       input.begin() + static_cast<long>(base_bytes));
  const std::vector<std::uint8_t> delta(input.begin() + static_cast<long>(base_bytes), input.end());
  const auto sizes = git::delta_sizes(delta);
  std::vector<std::uint8_t> out(sizes ? std::min<std::uint64_t>(sizes->result, 1 << 20) : 100);
  const bool applied = git::apply_delta(base, delta, out);
  if (!applied) return 0;
  WEIR_CHECK(sizes && sizes->base == base.size() && sizes->result == out.size());
  WEIR_CHECK(sizes->head_bytes <= delta.size());
  // All of the result was written: a second run over other bytes makes the same.
  std::vector<std::uint8_t> again(out.size(), 0xa5);
  WEIR_CHECK(git::apply_delta(base, delta, again) && again == out);
  return 0;
}
