// A pack, its index and its order, all of any bytes: refused, or every question has an answer or an
// error. Input: one byte for the hash, the lengths of index and order (3 bytes each,
// little-endian), then index, order, pack.

#include <algorithm>
#include <cstdint>
#include <span>

#include "git/pack.h"
#include "io/check.h"

namespace git = weir::git;

namespace {

std::span<const std::uint8_t> take(std::span<const std::uint8_t>& input, std::size_t bytes) {
  const auto taken = input.first(std::min(bytes, input.size()));
  input = input.subspan(taken.size());
  return taken;
}
std::size_t length(std::span<const std::uint8_t> bytes) {
  return bytes[0] | std::size_t{bytes[1]} << 8 | std::size_t{bytes[2]} << 16;
}

void ask(const git::Pack& pack, std::uint32_t rank) {
  WEIR_CHECK(pack.rank_of_position(pack.position_of_rank(rank)) == rank);
  WEIR_CHECK(pack.rank_at(pack.offset_at(rank)) == rank);
  WEIR_CHECK(pack.offset_at(rank) < pack.end_at(rank));
  WEIR_CHECK(pack.end_at(rank) <= pack.bytes().size() - pack.trailer().size());
  pack.find(pack.id_at(rank));
  pack.size_at(rank);
  const auto entry = pack.entry_at(rank);
  if (!entry) return;
  WEIR_CHECK(entry->data_offset() <= pack.end_at(rank));
  WEIR_CHECK(entry->data_offset() + entry->data_bytes() == pack.end_at(rank));
  WEIR_CHECK(!entry->is_delta() || entry->base_rank < pack.count());
}

// Every chain that has a type ends, and at an object of that type.
void follow(const git::Pack& pack, std::uint32_t rank) {
  const auto type = pack.type_at(rank);
  const auto entry = pack.entry_at(rank);
  const auto base = pack.base_of(rank);
  WEIR_CHECK(type.has_value() == base.has_value());
  if (!type) return;
  WEIR_CHECK(entry && entry->base_rank == *base);
  unsigned deltas = 0;
  while (*pack.base_of(rank) != git::kNoRank) {
    rank = *pack.base_of(rank);
    WEIR_CHECK(++deltas <= git::kDeltaChainMax);
  }
  WEIR_CHECK(pack.entry_at(rank)->type == *type);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 7) return 0;
  const auto format = (data[0] & 1) != 0 ? git::ObjectFormat::sha256 : git::ObjectFormat::sha1;
  std::span<const std::uint8_t> rest(data + 7, bytes - 7);
  git::PackFiles files;
  files.index = take(rest, length({data + 1, 3}));
  files.reverse_index = take(rest, length({data + 4, 3}));
  files.pack = rest;
  const auto pack = git::Pack::open(files, format);
  if (!pack) return 0;
  for (std::uint32_t rank = 0; rank < (*pack)->count(); ++rank) ask(**pack, rank);
  for (std::uint32_t rank = 0; rank < (*pack)->count(); ++rank) follow(**pack, rank);
  for (std::uint32_t rank = 0; rank < (*pack)->count(); ++rank) ask(**pack, rank);
  for (const std::uint64_t offset : {0UL, 12UL, bytes, ~0UL}) (*pack)->rank_at(offset);
  return 0;
}
