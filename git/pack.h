#pragma once
// Pack: one pack file and its index, read by rank: the place of an object in the order of offsets,
// which is also its bit in the pack's bitmaps. The orders (from the .rev file if there is one) and
// the table of bases are made once, 12 bytes an object, and kept. A view of mapped bytes, which
// outlive it and may be any bytes: whatever does not hold together is Errc::corrupt, never a crash;
// chains that bite their tail included. Immutable after open(); one thread. Planner processes only.
// Format: gitformat-pack(5).

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

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
  ObjectType type = ObjectType::blob;  // of one stored whole; a delta's is that of its chain's root

  bool is_delta() const { return base_rank != kNoRank; }
  std::uint64_t data_offset() const { return offset + header_bytes + reference_bytes; }
  std::uint64_t data_bytes() const { return bytes - header_bytes - reference_bytes; }
};

class Pack {
 public:
  static io::Result<std::unique_ptr<Pack>> open(const PackFiles& files, ObjectFormat format);

  std::uint32_t count() const { return index_.count(); }
  ObjectFormat format() const { return format_; }
  std::span<const std::uint8_t> trailer() const;  // hash_bytes(format)
  std::span<const std::uint8_t> bytes() const { return files_.pack; }

  // Ranks are 0 <= rank < count().
  std::optional<std::uint32_t> find(const ObjectId& id) const;
  std::optional<std::uint32_t> rank_at(std::uint64_t offset) const;
  std::uint32_t rank_of_position(std::uint32_t position) const;
  std::uint32_t position_of_rank(std::uint32_t rank) const;
  ObjectId id_at(std::uint32_t rank) const;
  std::uint64_t offset_at(std::uint32_t rank) const;
  // The offset behind its last byte.
  std::uint64_t end_at(std::uint32_t rank) const;
  // Of a delta, else kNoRank. From the table, which the first call makes.
  io::Result<std::uint32_t> base_of(std::uint32_t rank) const;
  io::Result<PackEntry> entry_at(std::uint32_t rank) const;
  // Through the chain, bounded by kDeltaChainMax.
  io::Result<ObjectType> type_at(std::uint32_t rank) const;
  // Of the whole object: of a delta, from the head of its inflated data.
  io::Result<std::uint64_t> size_at(std::uint32_t rank) const;
};

}  // namespace weir::git
