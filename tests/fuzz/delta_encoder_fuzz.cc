// Deltas of any two texts: applied, they give the target; within a limit or not at all. The first
// two bytes say where the base ends, the third the limit.

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "git/delta_encoder.h"
#include "git/object_codec.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 3) return 0;
  const std::span<const std::uint8_t> text(data + 3, bytes - 3);
  const std::size_t cut = std::min<std::size_t>(text.size(), data[0] | std::size_t{data[1]} << 8);
  const std::span<const std::uint8_t> base = text.first(cut), target = text.subspan(cut);
  git::DeltaEncoder encoder;
  std::string delta;
  const std::size_t bytes_max = data[2] == 0 ? ~std::size_t{0} : data[2];
  if (!encoder.encode(base, target, bytes_max, delta)) {
    WEIR_CHECK(target.empty() || bytes_max < target.size() + target.size() / 64 + 16);
    return 0;
  }
  WEIR_CHECK(delta.size() <= bytes_max);
  std::string out(target.size(), '\0');
  WEIR_CHECK(git::apply_delta(base,
                              {reinterpret_cast<const std::uint8_t*>(delta.data()), delta.size()},
                              {reinterpret_cast<std::uint8_t*>(out.data()), out.size()}));
  WEIR_CHECK(std::ranges::equal(
      target, std::span(reinterpret_cast<const std::uint8_t*>(out.data()), out.size())));
  return 0;
}
