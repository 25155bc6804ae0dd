#pragma once
// StoredBitmaps: the reachability bitmaps of a repository's multi-pack-indexes and packs, those of
// its alternates too, as sets of object numbers. Several are of use at once: each knows other
// commits. One that does not fit is passed over: bitmaps only save work. Which number a bit stands
// for is worked out when a bitmap is first of use, and kept as stretches: few, and 8 bytes an
// object at worst. One thread; planner processes and tests only.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "git/object_set.h"
#include "git/object_store.h"
#include "git/reachability_bitmap.h"
#include "io/error.h"

namespace weir::git {

class StoredBitmaps {
 public:
  // Both must outlive it.
  StoredBitmaps(const std::vector<MappedRepositoryFile>& files, const ObjectStore& store);

  bool empty() const { return sources_.empty(); }
  // If the commit has a set, `into` grows by it. Errc::corrupt: its set cannot be read.
  io::Result<bool> add_reachable(ObjectNumber commit, ObjectSet& into);

 private:
  // Bits whose numbers follow each other, up to the next stretch.
  struct Stretch {
    std::uint32_t bit = 0;
    ObjectNumber number = 0;  // of `bit`, canonical
  };
  struct Source {
    std::unique_ptr<ReachabilityBitmap> bitmap;
    const CoveredPacks* covered = nullptr;  // whose bitmap it is; or:
    const StoredPack* stored = nullptr;
    std::uint32_t bits = 0;
    std::vector<Stretch> stretches = {};  // empty: not made yet
  };
  void add_source(const MappedRepositoryFile& file, std::span<const std::uint8_t> checksum,
                  Source source);
  std::optional<std::uint32_t> position(const Source& source, ObjectNumber commit) const;
  bool make_stretches(Source& source) const;

  const ObjectStore& store_;
  std::vector<Source> sources_;  // those of multi-pack-indexes first, which know more
};

}  // namespace weir::git
