#pragma once
// ReachabilityBitmap: the .bitmap file of a pack or of a multi-pack-index: for some commits, the
// set of all objects they reach, and for each object its type. A view of mapped bytes, which
// outlive it and may be any bytes. Bits are ranks of the pack (git/pack.h), or places in the
// multi-pack-index's order of packs (git/multi_pack_index.h). Decoded sets are not kept here.
// Immutable after open(); one thread. Planner processes only. Format: gitformat-bitmap(5)
// (bitmap-format), version 1; extensions read: lookup table, hash cache (passed over).

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "git/object_id.h"
#include "git/object_set.h"
#include "git/object_type.h"
#include "io/error.h"

namespace weir::git {

inline constexpr unsigned kBitmapXorChainMax = 160;  // git's own limit of offsets

class ReachabilityBitmap {
 public:
  // `objects`: how many bits a set has. `checksum`: of the pack (its trailer) or the
  // multi-pack-index that it must belong to. Entries name commits by their position in the sorted
  // names (of the pack's index, or of the multi-pack-index).
  static io::Result<std::unique_ptr<ReachabilityBitmap>> open(
      std::span<const std::uint8_t> file, ObjectFormat format, std::uint32_t objects,
      std::span<const std::uint8_t> checksum);

  std::uint32_t entries() const;
  // Whether the commit at this position of the sorted names has a set of its own.
  bool has(std::uint32_t commit_position) const;
  // Its set, of `objects` bits; nullopt: it has none. Follows the chain of XORs.
  io::Result<std::optional<ObjectSet>> reachable_from(std::uint32_t commit_position) const;
  // All objects of that type.
  const ObjectSet& of_type(ObjectType type) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::git
