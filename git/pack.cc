#include "git/pack.h"

#include <algorithm>
#include <array>
#include <ranges>
#include <utility>

#include "git/big_endian.h"

namespace weir::git {
namespace {

constexpr std::uint32_t kPackMagic = 0x5041434b;  // "PACK"
constexpr std::size_t kReverseIndexHeaderBytes = 12;
// Entries read one by one, as a share of a pack, before the table is worth its pass.
constexpr std::uint32_t kTablePaysShare = 16;
// Enough of a delta for its two sizes.
constexpr std::size_t kDeltaHeadBytes = 20;

// In the table of types, while it is made.
constexpr std::uint8_t kBroken = 0;
constexpr std::uint8_t kPending = 8;
constexpr std::uint8_t kWalked = 9;

bool is_settled(std::uint8_t type) {
  return type < kPending;
}

// Type and size, which open an entry. Returns the kind; 0: malformed.
std::uint8_t read_header(std::span<const std::uint8_t> bytes, PackEntry& entry) {
  entry.size = bytes[0] & 0x0f;
  std::size_t at = 0;
  for (unsigned shift = 4; (bytes[at] & 0x80) != 0; shift += 7) {
    if (++at == bytes.size() || shift >= 64) return 0;
    const std::uint64_t bits = bytes[at] & 0x7f;
    if (bits << shift >> shift != bits) return 0;
    entry.size |= bits << shift;
  }
  entry.header_bytes = static_cast<std::uint8_t>(at + 1);
  return bytes[0] >> 4 & 0x07;
}

// How far before an entry its base begins, as OFS_DELTAs say it. Returns the bytes it took; 0:
// malformed.
std::uint8_t read_distance(std::span<const std::uint8_t> bytes, std::uint64_t& distance) {
  distance = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    distance = distance << 7 | (bytes[at] & 0x7f);
    if ((bytes[at] & 0x80) == 0) return static_cast<std::uint8_t>(at + 1);
    if (++distance >> 57 != 0) return 0;
  }
  return 0;
}

}  // namespace

io::Result<std::unique_ptr<Pack>> Pack::open(const PackFiles& files, ObjectFormat format) {
  const io::Result<PackIndex> index = PackIndex::open(files.index, format);
  if (!index) return std::unexpected(index.error());
  const std::uint8_t* const header = files.pack.data();
  if (files.pack.size() < kPackHeaderBytes + hash_bytes(format) || be32(header) != kPackMagic) {
    return io::fail(io::Errc::corrupt, "pack");
  }
  const std::uint32_t version = be32(header + 4);
  if (version != 2 && version != 3) return io::fail(io::Errc::corrupt, "version of a pack");
  std::unique_ptr<Pack> pack(new Pack(files.pack, *index, format));
  if (be32(header + 8) != pack->count() ||
      !std::ranges::equal(pack->trailer(), index->pack_checksum())) {
    return io::fail(io::Errc::corrupt, "pack and index do not belong together");
  }
  if (!pack->take_order(files.reverse_index) && !pack->make_order()) {
    return io::fail(io::Errc::corrupt, "offsets of a pack index");
  }
  return pack;
}

// From a .rev file. Of what it says of itself nothing is needed: an order in which the offsets rise
// is the right one.
bool Pack::take_order(std::span<const std::uint8_t> reverse_index) {
  if (reverse_index.size() !=
      kReverseIndexHeaderBytes + std::size_t{count()} * 4 + 2 * hash_bytes(format_)) {
    return false;
  }
  positions_.resize(count());
  for (std::uint32_t rank = 0; rank < count(); ++rank) {
    positions_[rank] =
        be32(reverse_index.data() + kReverseIndexHeaderBytes + std::size_t{rank} * 4);
    if (positions_[rank] >= count()) return false;
  }
  return accept_order();
}

bool Pack::make_order() {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> order(count());
  for (std::uint32_t position = 0; position < count(); ++position) {
    const std::optional<std::uint64_t> offset = index_.offset_at(position);
    if (!offset) return false;
    order[position] = {*offset, position};
  }
  std::ranges::sort(order);
  positions_.resize(count());
  for (std::uint32_t rank = 0; rank < count(); ++rank) positions_[rank] = order[rank].second;
  return accept_order();
}

// Makes the other tables from positions_ (each less than count()). Offsets that only ever rise are
// those of distinct positions, so this also shows that positions_ is a permutation.
bool Pack::accept_order() {
  ranks_.resize(count());
  offsets_.resize(count());
  offset_carries_.clear();
  std::uint64_t end = kPackHeaderBytes;  // where the next entry may begin
  for (std::uint32_t rank = 0; rank < count(); ++rank) {
    const std::optional<std::uint64_t> offset = index_.offset_at(positions_[rank]);
    if (!offset || *offset < end || *offset >= entries_end()) return false;
    if (rank == 0 && *offset != kPackHeaderBytes) return false;
    end = *offset + 1;
    ranks_[positions_[rank]] = rank;
    offsets_[rank] = static_cast<std::uint32_t>(*offset);
    while (offset_carries_.size() < *offset >> 32) offset_carries_.push_back(rank);
  }
  return count() != 0 || entries_end() == kPackHeaderBytes;
}

std::uint64_t Pack::offset_at(std::uint32_t rank) const {
  if (offset_carries_.empty()) return offsets_[rank];
  const auto carries = std::ranges::upper_bound(offset_carries_, rank) - offset_carries_.begin();
  return static_cast<std::uint64_t>(carries) << 32 | offsets_[rank];
}

std::optional<std::uint32_t> Pack::find(const ObjectId& id) const {
  const std::optional<std::uint32_t> position = index_.find(id);
  if (!position) return std::nullopt;
  return ranks_[*position];
}

// Of the ranks first <= rank < last.
std::optional<std::uint32_t> Pack::find_offset(std::uint32_t first, std::uint32_t last,
                                               std::uint64_t offset) const {
  while (first < last) {
    const std::uint32_t middle = first + (last - first) / 2;
    const std::uint64_t found = offset_at(middle);
    if (found == offset) return middle;
    if (found < offset) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return std::nullopt;
}

// In strides that double, since most bases are near.
std::optional<std::uint32_t> Pack::find_offset_before(std::uint32_t rank,
                                                      std::uint64_t offset) const {
  std::uint32_t last = rank;
  std::uint32_t stride = 1;
  while (stride <= last && offset_at(last - stride) > offset) {
    last -= stride;
    stride *= 2;
  }
  return find_offset(stride <= last ? last - stride : 0, last, offset);
}

// The base of a delta: its reference and its rank, from the table if there is one.
bool Pack::read_base(std::uint8_t kind, std::uint32_t rank, PackEntry& entry) const {
  const auto reference =
      bytes_.subspan(entry.offset + entry.header_bytes, entry.bytes - entry.header_bytes);
  std::optional<std::uint32_t> base;
  if (kind == kOfsDelta) {
    std::uint64_t distance = 0;
    entry.reference_bytes = read_distance(reference, distance);
    if (entry.reference_bytes == 0) return false;
    // A distance that leaves the pack wraps, and leads to no entry.
    base = bases_.empty() ? find_offset_before(rank, entry.offset - distance) : bases_[rank];
  } else {
    const std::size_t hash = hash_bytes(format_);
    if (reference.size() < hash) return false;
    entry.reference_bytes = static_cast<std::uint8_t>(hash);
    entry.by_name = true;
    base = bases_.empty() ? find(ObjectId::from_bytes(reference.data(), format_)) : bases_[rank];
  }
  entry.base_rank = base.value_or(kNoRank);
  return entry.base_rank != kNoRank && entry.base_rank != rank;
}

io::Result<PackEntry> Pack::entry_at(std::uint32_t rank) const {
  PackEntry entry;
  entry.offset = offset_at(rank);
  entry.bytes = end_at(rank) - entry.offset;
  const std::uint8_t kind = read_header(bytes_.subspan(entry.offset, entry.bytes), entry);
  if (kind >= 1 && kind <= 4) {
    entry.type = static_cast<ObjectType>(kind);
  } else if ((kind != kOfsDelta && kind != kRefDelta) || !read_base(kind, rank, entry)) {
    return io::fail(io::Errc::corrupt, "entry of a pack");
  }
  if (entry.size > inflated_bytes_max(entry.data_bytes())) {
    return io::fail(io::Errc::corrupt, "size of an entry of a pack");
  }
  return entry;
}

// Most bases come before their deltas, so a pass in that order settles them; the chains of the
// others are walked, each entry once.
void Pack::make_table() const {
  std::vector<std::uint32_t> bases(count(), kNoRank);
  std::vector<std::uint16_t> depths(count());
  types_.assign(count(), kBroken);
  for (std::uint32_t rank = 0; rank < count(); ++rank) {
    const io::Result<PackEntry> entry = entry_at(rank);
    if (!entry) continue;
    bases[rank] = entry->base_rank;
    types_[rank] = entry->is_delta() ? kPending : static_cast<std::uint8_t>(entry->type);
  }
  bases_ = std::move(bases);
  for (std::uint32_t rank = 0; rank < count(); ++rank) settle_chain(rank, depths);
}

void Pack::settle_chain(std::uint32_t rank, std::vector<std::uint16_t>& depths) const {
  std::vector<std::uint32_t> chain;
  for (; types_[rank] == kPending; rank = bases_[rank]) {
    types_[rank] = kWalked;
    chain.push_back(rank);
  }
  // A chain that came back to where it was walked has no root.
  std::uint8_t type = is_settled(types_[rank]) ? types_[rank] : kBroken;
  unsigned depth = depths[rank];
  for (const std::uint32_t delta : chain | std::views::reverse) {
    if (++depth > kDeltaChainMax) type = kBroken;
    types_[delta] = type;
    depths[delta] = static_cast<std::uint16_t>(std::min(depth, kDeltaChainMax));
  }
}

bool Pack::has_table() const {
  if (types_.empty() && ++asked_without_ > count() / kTablePaysShare) make_table();
  return !types_.empty();
}

io::Result<std::uint32_t> Pack::base_of(std::uint32_t rank) const {
  if (!has_table()) {
    const io::Result<PackEntry> entry = entry_at(rank);
    if (!entry) return std::unexpected(entry.error());
    // Every circle has a delta whose base comes later. There are few such deltas.
    if (!entry->is_delta() || entry->base_rank < rank) return entry->base_rank;
    make_table();
  }
  if (types_[rank] == kBroken) return io::fail(io::Errc::corrupt, "delta chain of a pack");
  return bases_[rank];
}

io::Result<ObjectType> Pack::type_at(std::uint32_t rank) const {
  for (unsigned deltas = 0; !has_table(); ++deltas) {
    const io::Result<PackEntry> entry = entry_at(rank);
    if (!entry) return std::unexpected(entry.error());
    if (!entry->is_delta()) return entry->type;
    if (deltas == kDeltaChainMax) return io::fail(io::Errc::corrupt, "delta chain of a pack");
    rank = entry->base_rank;
  }
  if (types_[rank] == kBroken) return io::fail(io::Errc::corrupt, "delta chain of a pack");
  return static_cast<ObjectType>(types_[rank]);
}

io::Result<std::uint64_t> Pack::size_at(std::uint32_t rank) const {
  const io::Result<PackEntry> entry = entry_at(rank);
  if (!entry) return std::unexpected(entry.error());
  if (!entry->is_delta()) return entry->size;
  std::array<std::uint8_t, kDeltaHeadBytes> head;
  const io::Result<std::size_t> bytes =
      inflater_.inflate_head(bytes_.subspan(entry->data_offset(), entry->data_bytes()), head);
  if (!bytes) return std::unexpected(bytes.error());
  const std::optional<DeltaSizes> sizes = delta_sizes(std::span(head).first(*bytes));
  if (!sizes) return io::fail(io::Errc::corrupt, "delta of a pack");
  return sizes->result;
}

}  // namespace weir::git
