#pragma once
// MultiPackIndex: the names of the objects of many packs, sorted, each with one pack and offset. A
// view of mapped bytes, which outlive it and may be any bytes. Immutable after open(); any thread.
// Versions 1; chunks PNAM, OIDF, OIDL, OOFF, LOFF, RIDX (or a .rev file) and BTMP; a chain of
// incremental ones is Errc::invalid. Format: gitformat-pack(5) "multi-pack-index (MIDX) files".

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

class MultiPackIndex {
 public:
  // `reverse_index`: the bytes of its .rev file if the order is kept there; else empty.
  static io::Result<MultiPackIndex> open(std::span<const std::uint8_t> file,
                                         std::span<const std::uint8_t> reverse_index,
                                         ObjectFormat format);

  std::uint32_t count() const;
  std::uint32_t packs() const;
  // "pack-<hash>.idx", as stored.
  std::string_view pack_name(std::uint32_t pack) const;
  std::optional<std::uint32_t> find(const ObjectId& id) const;  // a position: order of names
  ObjectId id_at(std::uint32_t position) const;
  struct Place {
    std::uint32_t pack = 0;
    std::uint64_t offset = 0;
  };
  // nullopt: the file points outside itself.
  std::optional<Place> place_at(std::uint32_t position) const;
  // The order of its bitmap: bit -> position. Empty: the file has none (then it has no bitmap).
  std::optional<std::uint32_t> position_of_bit(std::uint32_t bit) const;
  bool has_order() const;
  std::span<const std::uint8_t> checksum() const;
};

}  // namespace weir::git
