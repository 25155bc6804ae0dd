#include "git/delta_encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace weir::git {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kBlockBytes = 16;
constexpr std::size_t kBlocksMax = 65536;  // of larger bases blocks lie further apart
constexpr unsigned kBlocksLookedAt = 8;    // with one hash
constexpr std::size_t kLongBytes = 4096;   // a match with which no other is compared
// Shorter beginnings and ends that are the same are no gain over saying them anew.
constexpr std::size_t kSameBytesMin = 6;
constexpr std::size_t kInsertBytesMax = 127;
constexpr std::size_t kCopyBytesMax = 0x10000;  // as git writes them

std::uint64_t word_at(const std::uint8_t* bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

std::uint64_t hash_of_block(const std::uint8_t* bytes) {
  return word_at(bytes) * 0x9e3779b97f4a7c15 + word_at(bytes + 8) * 0xc2b2ae3d27d4eb4f;
}

std::size_t same_from_start(const std::uint8_t* a, const std::uint8_t* b, std::size_t max) {
  std::size_t same = 0;
  while (same + 8 <= max && word_at(a + same) == word_at(b + same)) same += 8;
  while (same < max && a[same] == b[same]) ++same;
  return same;
}

// `a` and `b` point behind the ends.
std::size_t same_from_end(const std::uint8_t* a, const std::uint8_t* b, std::size_t max) {
  std::size_t same = 0;
  while (same + 8 <= max && word_at(a - same - 8) == word_at(b - same - 8)) same += 8;
  while (same < max && *(a - same - 1) == *(b - same - 1)) ++same;
  return same;
}

void append_size(std::string& delta, std::size_t size) {
  for (; size >= 0x80; size >>= 7) delta.push_back(static_cast<char>(size | 0x80));
  delta.push_back(static_cast<char>(size));
}

void append_insert(std::string& delta, Bytes bytes) {
  while (!bytes.empty()) {
    const Bytes part = bytes.first(std::min(bytes.size(), kInsertBytesMax));
    delta.push_back(static_cast<char>(part.size()));
    delta.append(reinterpret_cast<const char*>(part.data()), part.size());
    bytes = bytes.subspan(part.size());
  }
}

// Writes the bytes of `number` that are not zero; returns a bit for each.
unsigned append_sparse(std::string& delta, std::size_t number) {
  unsigned present = 0;
  for (unsigned bit = 1; number != 0; number >>= 8, bit <<= 1) {
    if ((number & 0xff) == 0) continue;
    present |= bit;
    delta.push_back(static_cast<char>(number));
  }
  return present;
}

void append_copy(std::string& delta, std::size_t from, std::size_t bytes) {
  while (bytes != 0) {
    const std::size_t part = std::min(bytes, kCopyBytesMax);
    const std::size_t command_at = delta.size();
    delta.push_back('\0');
    unsigned command = 0x80 | append_sparse(delta, from);
    if (part != kCopyBytesMax) command |= append_sparse(delta, part) << 4;
    delta[command_at] = static_cast<char>(command);
    from += part;
    bytes -= part;
  }
}

}  // namespace

void DeltaEncoder::index(Bytes base) {
  step_ = kBlockBytes;
  while (base.size() / step_ > kBlocksMax) step_ += kBlockBytes;
  const std::size_t blocks =
      base.size() < kBlockBytes ? 0 : (base.size() - kBlockBytes) / step_ + 1;
  const std::size_t chains = std::bit_ceil(std::max<std::size_t>(blocks, 2));
  shift_ = static_cast<unsigned>(64 - std::countr_zero(chains));
  first_.assign(chains, 0);
  next_.resize(blocks);
  for (std::size_t i = blocks; i-- > 0;) {
    std::uint32_t& first = first_[hash_of_block(base.data() + i * step_) >> shift_];
    next_[i] = first;
    first = static_cast<std::uint32_t>(i + 1);
  }
}

// A match that holds the block at `at`, and reaches from `not_before` to `end` at most.
DeltaEncoder::Match DeltaEncoder::longest_match(Bytes base, Bytes target, std::size_t at,
                                                std::size_t not_before, std::size_t end) const {
  Match best;
  const std::uint8_t* const here = target.data() + at;
  std::uint32_t block = first_[hash_of_block(here) >> shift_];
  for (unsigned i = 0; block != 0 && i < kBlocksLookedAt; ++i, block = next_[block - 1]) {
    const std::size_t base_at = (block - 1) * step_;
    const std::uint8_t* const there = base.data() + base_at;
    const std::size_t after =
        same_from_start(here, there, std::min(end - at, base.size() - base_at));
    if (after < kBlockBytes) continue;
    const std::size_t before = same_from_end(here, there, std::min(at - not_before, base_at));
    if (before + after <= best.bytes) continue;
    best = {base_at - before, at - before, before + after};
    if (best.bytes >= kLongBytes) break;
  }
  return best;
}

bool DeltaEncoder::encode(Bytes base, Bytes target, std::size_t bytes_max, std::string& delta) {
  if (target.empty() || base.size() > std::numeric_limits<std::uint32_t>::max()) return false;
  const std::size_t began = delta.size();
  const auto too_long = [&](std::size_t more) { return delta.size() - began + more > bytes_max; };
  append_size(delta, base.size());
  append_size(delta, target.size());
  const std::size_t shorter = std::min(base.size(), target.size());
  std::size_t head = same_from_start(base.data(), target.data(), shorter);
  if (head < kSameBytesMin) head = 0;
  std::size_t tail =
      same_from_end(base.data() + base.size(), target.data() + target.size(), shorter - head);
  if (tail < kSameBytesMin) tail = 0;
  append_copy(delta, 0, head);
  std::size_t said = head;
  const std::size_t end = target.size() - tail;
  if (end - head >= kBlockBytes) {
    index(base);
    for (std::size_t at = head; at + kBlockBytes <= end;) {
      const Match match = longest_match(base, target, at, said, end);
      if (match.bytes == 0) {
        ++at;
        if (too_long(at - said)) return false;
        continue;
      }
      append_insert(delta, target.subspan(said, match.target_at - said));
      append_copy(delta, match.base_at, match.bytes);
      at = said = match.target_at + match.bytes;
    }
  }
  append_insert(delta, target.subspan(said, end - said));
  append_copy(delta, base.size() - tail, tail);
  return !too_long(0);
}

}  // namespace weir::git
