#pragma once
// PackIndex: the names of a pack's objects, sorted, each with the offset of its entry. A view of
// mapped bytes, which outlive it; they may be any bytes: open() checks the sizes and the fan-out,
// lookups check the rest: names out of order are not found. Immutable, any thread. Versions 1
// and 2. Format: gitformat-pack(5) "pack-*.idx files".

#include <cstdint>
#include <optional>
#include <span>

#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

class PackIndex {
 public:
  // The trailing checksums are not verified: reading the whole file at each start would be dear.
  static io::Result<PackIndex> open(std::span<const std::uint8_t> file, ObjectFormat format);

  std::uint32_t count() const { return count_; }
  // Positions are 0 <= position < count(), in the order of names.
  std::optional<std::uint32_t> find(const ObjectId& id) const;
  ObjectId id_at(std::uint32_t position) const;
  // As the file says, which may be anything: nullopt when its 64-bit table is too short.
  std::optional<std::uint64_t> offset_at(std::uint32_t position) const;
  std::optional<std::uint32_t> crc32_at(std::uint32_t position) const;  // version 1 has none
  // The trailer of the pack that this is an index of. hash_bytes(format) long.
  std::span<const std::uint8_t> pack_checksum() const;

 private:
  const std::uint8_t* name_at(std::uint32_t position) const;

  std::span<const std::uint8_t> file_;
  ObjectFormat format_ = ObjectFormat::sha1;
  std::uint8_t version_ = 2;
  std::uint32_t count_ = 0;
  std::size_t large_offsets_ = 0;  // in the 64-bit table
};

}  // namespace weir::git
