#pragma once
// Pack: one pack file and its index, read by rank: the place of an object in the order of offsets,
// which is also its bit in the pack's bitmaps. The orders (from the .rev file if it is right) are
// made by open(), 12 bytes an object; the table of bases and types, 5 bytes an object, in a pass
// over the whole pack, once so many were asked for that it pays. A view of mapped bytes, which
// outlive it and may be any bytes: open() refuses what has no order, later calls answer
// Errc::corrupt for the entries that do not hold together, chains that bite their tail included.
// Immutable after open(); one thread. Planner processes only. Format: gitformat-pack(5).

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "git/object_codec.h"
#include "git/object_id.h"
#include "git/object_type.h"
#include "git/pack_index.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::uint32_t kNoRank = 0xffffffff;
inline constexpr std::size_t kPackHeaderBytes = 12;
inline constexpr unsigned kDeltaChainMax = 4095;  // git's own limit

struct PackFiles {
  std::span<const std::uint8_t> pack;
  std::span<const std::uint8_t> index;
  std::span<const std::uint8_t> reverse_index;  // empty: there is none
};

// How an entry is stored.
struct PackEntry {
  std::uint64_t offset = 0;            // of its header, in the pack
  std::uint64_t bytes = 0;             // of the whole entry: header, base reference, deflated data
  std::uint64_t size = 0;              // inflated: of the object, or of the delta
  std::uint8_t header_bytes = 0;       // type and size, without the base reference
  std::uint8_t reference_bytes = 0;    // the base reference of a delta: offset or name; else 0
  std::uint32_t base_rank = kNoRank;   // of a delta: its base, in this pack
  bool by_name = false;                // a REF_DELTA
  ObjectType type = ObjectType::blob;  // of one stored whole; of a delta: ask type_at()

  bool is_delta() const { return base_rank != kNoRank; }
  std::uint64_t data_offset() const { return offset + header_bytes + reference_bytes; }
  std::uint64_t data_bytes() const { return bytes - header_bytes - reference_bytes; }
};

class Pack {
 public:
  static io::Result<std::unique_ptr<Pack>> open(const PackFiles& files, ObjectFormat format);

  std::uint32_t count() const { return index_.count(); }
  ObjectFormat format() const { return format_; }
  const PackIndex& index() const { return index_; }
  std::span<const std::uint8_t> trailer() const { return bytes().last(hash_bytes(format_)); }
  std::span<const std::uint8_t> bytes() const { return bytes_; }

  // Ranks are 0 <= rank < count().
  std::optional<std::uint32_t> find(const ObjectId& id) const;
  std::optional<std::uint32_t> rank_at(std::uint64_t offset) const {
    return find_offset(0, count(), offset);
  }
  std::uint32_t rank_of_position(std::uint32_t position) const { return ranks_[position]; }
  std::uint32_t position_of_rank(std::uint32_t rank) const { return positions_[rank]; }
  ObjectId id_at(std::uint32_t rank) const { return index_.id_at(positions_[rank]); }
  std::uint64_t offset_at(std::uint32_t rank) const;
  // The offset behind its last byte.
  std::uint64_t end_at(std::uint32_t rank) const {
    return rank + 1 < count() ? offset_at(rank + 1) : entries_end();
  }
  // Of a delta, else kNoRank. Bases lead to no circle.
  io::Result<std::uint32_t> base_of(std::uint32_t rank) const;
  // Needs no table, so that reading a few objects does not read a whole pack.
  io::Result<PackEntry> entry_at(std::uint32_t rank) const;
  // Through the chain, of kDeltaChainMax deltas at most.
  io::Result<ObjectType> type_at(std::uint32_t rank) const;
  // Of the whole object: of a delta, from the head of its inflated data.
  io::Result<std::uint64_t> size_at(std::uint32_t rank) const;

 private:
  Pack(std::span<const std::uint8_t> bytes, const PackIndex& index, ObjectFormat format)
      : bytes_(bytes), index_(index), format_(format) {}
  std::uint64_t entries_end() const { return bytes_.size() - hash_bytes(format_); }
  bool take_order(std::span<const std::uint8_t> reverse_index);
  bool make_order();
  bool accept_order();
  std::optional<std::uint32_t> find_offset(std::uint32_t first, std::uint32_t last,
                                           std::uint64_t offset) const;
  std::optional<std::uint32_t> find_offset_before(std::uint32_t rank, std::uint64_t offset) const;
  bool read_base(std::uint8_t kind, std::uint32_t rank, PackEntry& entry) const;
  // Whether there is a table, or is one now: a few questions do not read a whole pack for it.
  bool has_table() const;
  void make_table() const;
  void settle_chain(std::uint32_t rank, std::vector<std::uint16_t>& depths) const;

  std::span<const std::uint8_t> bytes_;
  PackIndex index_;
  ObjectFormat format_;
  std::vector<std::uint32_t> positions_;  // by rank
  std::vector<std::uint32_t> ranks_;      // by position
  // By rank, the lower 32 bits; the others are the number of `offset_carries_` at or before it.
  std::vector<std::uint32_t> offsets_;
  std::vector<std::uint32_t> offset_carries_;  // ranks
  // The table, empty until it is made.
  mutable std::vector<std::uint32_t> bases_;
  mutable std::vector<std::uint8_t> types_;  // ObjectType, or 0: the chain does not hold together
  mutable std::uint32_t asked_without_ = 0;  // entries read for want of a table
  mutable Inflater inflater_;
};

}  // namespace weir::git
