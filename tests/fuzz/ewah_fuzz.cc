// A compressed bitmap of any content: refused, or decoded to what a reader that goes bit by bit
// finds, within the set's bounds. The first two bytes say how many bits the set has.

#include <cstdint>
#include <vector>

#include "git/big_endian.h"
#include "git/ewah.h"
#include "io/check.h"

namespace git = weir::git;

namespace {

// Of bytes that were accepted.
std::vector<bool> bits_of(const std::uint8_t* ewah) {
  std::vector<bool> bits;
  const std::size_t words = git::be32(ewah + 4);
  for (std::size_t at = 0; at < words; ++at) {
    const std::uint64_t marker = git::be64(ewah + 8 + 8 * at);
    bits.insert(bits.end(), 64 * (marker >> 1 & 0xffffffff), (marker & 1) != 0);
    for (std::uint64_t literals = marker >> 33; literals > 0; --literals) {
      const std::uint64_t word = git::be64(ewah + 8 + 8 * ++at);
      for (unsigned bit = 0; bit < 64; ++bit) bits.push_back((word >> bit & 1) != 0);
    }
  }
  return bits;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 2) return 0;
  const std::uint32_t numbers = git::be16(data);
  std::span<const std::uint8_t> rest(data + 2, bytes - 2);
  const auto ewah = git::Ewah::take(rest);
  if (!ewah) return 0;
  git::ObjectSet set(numbers);
  if (!ewah->xor_into(set, numbers)) return 0;
  const std::vector<bool> expected = bits_of(data + 2);
  for (std::uint32_t i = 0; i < set.words().size() * 64; ++i) {
    WEIR_CHECK(set.contains(i) == (i < expected.size() && expected[i]));
    WEIR_CHECK(i < numbers || !set.contains(i));
  }
  WEIR_CHECK(ewah->xor_into(set, numbers).has_value());
  WEIR_CHECK(set.empty());
  return 0;
}
