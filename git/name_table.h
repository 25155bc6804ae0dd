#pragma once
// NameTable: object names in ascending order behind a fan-out of their first bytes, as pack
// indexes, multi-pack-indexes and commit-graphs keep them. A view of mapped bytes, which outlive it
// and may be any bytes: the fan-out is checked when it is opened, the order of names is not, so
// names that are out of order may not be found. Immutable; any thread.
// Format: gitformat-pack(5), chunks OIDF and OIDL.

#include <cstdint>
#include <optional>
#include <span>

#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

class NameTable {
 public:
  static constexpr std::size_t kFanOutBytes = 256 * 4;

  NameTable() = default;
  // Errc::corrupt unless `fan_out` never falls and ends with as many names as there are.
  static io::Result<NameTable> open(std::span<const std::uint8_t> fan_out,
                                    std::span<const std::uint8_t> names, ObjectFormat format);

  std::uint32_t count() const { return count_; }
  std::optional<std::uint32_t> find(const ObjectId& id) const;
  // `position` < count().
  ObjectId id_at(std::uint32_t position) const;
  // Whether find() finds them all: they rise, and lie where the fan-out says. Reads all of them.
  bool in_order() const;

 private:
  std::span<const std::uint8_t> fan_out_;
  std::span<const std::uint8_t> names_;
  ObjectFormat format_ = ObjectFormat::sha1;
  std::uint32_t count_ = 0;
};

}  // namespace weir::git
