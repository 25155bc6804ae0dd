#pragma once
// MultiPackIndex: the names of the objects of many packs, sorted, each with one pack and offset. A
// view of mapped bytes, which outlive it and may be any bytes. Immutable after open(); any thread.
// Version 1; chunks PNAM, OIDF, OIDL, OOFF, LOFF and RIDX (or a .rev file), others are passed over;
// one of a chain of incremental ones is Errc::invalid. The trailing checksum is not verified, which
// would mean to read all of it. Format: gitformat-pack(5) "multi-pack-index (MIDX) files".

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "git/name_table.h"
#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

class MultiPackIndex {
 public:
  // `reverse_index`: the bytes of its .rev file if the order is kept there; else empty.
  static io::Result<MultiPackIndex> open(std::span<const std::uint8_t> file,
                                         std::span<const std::uint8_t> reverse_index,
                                         ObjectFormat format);

  std::uint32_t count() const { return names_.count(); }
  std::uint32_t packs() const { return static_cast<std::uint32_t>(packs_.size()); }
  // "pack-<hash>.idx", as stored; `pack` < packs().
  std::string_view pack_name(std::uint32_t pack) const { return packs_[pack]; }
  // Positions are 0 <= position < count(), in the order of names.
  std::optional<std::uint32_t> find(const ObjectId& id) const { return names_.find(id); }
  ObjectId id_at(std::uint32_t position) const { return names_.id_at(position); }
  // Whether find() finds them all. Reads all of them.
  bool names_in_order() const { return names_.in_order(); }
  struct Place {
    std::uint32_t pack = 0;
    std::uint64_t offset = 0;
  };
  // nullopt: the file points outside itself.
  std::optional<Place> place_at(std::uint32_t position) const;
  // The order of its bitmap: bit -> position. nullopt: the file has none (then it has no bitmap),
  // there is no such bit, or the file points outside itself. A file that lies may name a position
  // twice.
  std::optional<std::uint32_t> position_of_bit(std::uint32_t bit) const;
  bool has_order() const { return !order_.empty(); }
  // What its bitmap must name. hash_bytes(format) long.
  std::span<const std::uint8_t> checksum() const { return checksum_; }

 private:
  io::Result<void> read_pack_names(std::span<const std::uint8_t> chunk, std::uint32_t packs);
  io::Result<void> read_reverse_index(std::span<const std::uint8_t> file, ObjectFormat format);

  NameTable names_;
  std::vector<std::string_view> packs_;
  std::span<const std::uint8_t> offsets_;      // OOFF
  std::span<const std::uint8_t> far_offsets_;  // LOFF
  bool has_far_offsets_ = false;
  std::span<const std::uint8_t> order_;  // RIDX, or the table of the .rev file
  std::span<const std::uint8_t> checksum_;
};

}  // namespace weir::git
