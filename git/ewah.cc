#include "git/ewah.h"

#include <algorithm>

#include "git/big_endian.h"

namespace weir::git {
namespace {

constexpr std::size_t kWordBytes = 8;

// How many literal words follow a run, and how long and of which bit that is.
struct Marker {
  explicit Marker(std::uint64_t word)
      : ones((word & 1) != 0), run(word >> 1 & 0xffffffff), literals(word >> 33) {}
  bool ones;
  std::size_t run;
  std::size_t literals;
};

std::unexpected<io::Error> corrupt(const char* where) {
  return io::fail(io::Errc::corrupt, where);
}

}  // namespace

io::Result<Ewah> Ewah::take(std::span<const std::uint8_t>& bytes) {
  constexpr std::size_t kHeadBytes = 8;
  constexpr std::size_t kLastMarkerBytes = 4;
  if (bytes.size() < kHeadBytes + kLastMarkerBytes) return corrupt("ewah: too short");
  Ewah ewah;
  ewah.bits_ = be32(bytes.data());
  const std::size_t words = be32(bytes.data() + 4);
  if (words > (bytes.size() - kHeadBytes - kLastMarkerBytes) / kWordBytes) {
    return corrupt("ewah: more words than bytes");
  }
  ewah.words_ = bytes.subspan(kHeadBytes, words * kWordBytes);
  bytes = bytes.subspan(kHeadBytes + words * kWordBytes);
  // Where the last marker is, for writers that append. That it is inside shows what we read is one.
  if (be32(bytes.data()) >= std::max<std::size_t>(words, 1)) return corrupt("ewah: last marker");
  bytes = bytes.subspan(kLastMarkerBytes);
  return ewah;
}

io::Result<void> Ewah::xor_into(ObjectSet& set, std::uint32_t numbers) const {
  std::vector<std::uint64_t>& out = set.words();
  const std::size_t size = (std::size_t{bits_} + 63) / 64;
  if (size > out.size()) return corrupt("ewah: more bits than objects");
  std::size_t word = 0;
  for (std::size_t at = 0; at < words_.size();) {
    const Marker marker(be64(words_.data() + at));
    at += kWordBytes;
    if (marker.run > size - word) return corrupt("ewah: a run beyond the last bit");
    if (marker.ones) {
      for (std::size_t i = 0; i < marker.run; ++i) out[word + i] = ~out[word + i];
    }
    word += marker.run;
    if (marker.literals > size - word || marker.literals > (words_.size() - at) / kWordBytes) {
      return corrupt("ewah: more literal words than there are");
    }
    for (std::size_t i = 0; i < marker.literals; ++i) {
      out[word + i] ^= be64(words_.data() + at + i * kWordBytes);
    }
    word += marker.literals;
    at += marker.literals * kWordBytes;
  }
  if (numbers % 64 != 0 && out.back() >> (numbers % 64) != 0) {
    return corrupt("ewah: a bit beyond the last object");
  }
  return {};
}

}  // namespace weir::git
