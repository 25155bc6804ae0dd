#pragma once
// CoveredPacks: the packs of a store that a multi-pack-index covers, looked up through it: one
// search for all of them. Believed only if it says of all objects of these packs what their own
// indexes say, which one pass over the names shows while the table of numbers is made (4 bytes an
// object); else the store searches pack by pack, as if it were not there. Part of an ObjectStore.
// Immutable once numbered; one thread.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "git/multi_pack_index.h"
#include "git/object_id.h"
#include "git/repository_view.h"
#include "git/stored_pack.h"

namespace weir::git {

class CoveredPacks {
 public:
  // `file`: the multi-pack-index, in `files`. nullopt: it cannot be read, or covers a pack that is
  // not among `packs`.
  static std::optional<CoveredPacks> open(const std::vector<MappedRepositoryFile>& files,
                                          std::uint32_t file, const std::vector<StoredPack>& packs,
                                          ObjectFormat format);
  // When the packs have their numbers. False: it lies.
  bool take_numbers(const std::vector<StoredPack>& packs);

  const MultiPackIndex& index() const { return index_; }
  std::uint32_t file() const { return file_; }
  bool covers(const StoredPack& pack) const {
    return std::ranges::find(pack_files_, pack.file) != pack_files_.end();
  }
  // Of objects that are in several packs, its copy is the one that counts.
  bool prefers(const StoredPack& pack) const { return preferred_file_ == pack.file; }

  std::optional<ObjectNumber> find(const ObjectId& id) const {
    const std::optional<std::uint32_t> position = index_.find(id);
    if (!position) return std::nullopt;
    return numbers_[*position];
  }
  // By position in the index: of the copy it chose.
  const std::vector<ObjectNumber>& numbers() const { return numbers_; }
  // By bit of its bitmap. Empty: it has no order, or not the one that the format asks for.
  std::vector<ObjectNumber> numbers_by_bit() const;

 private:
  MultiPackIndex index_;
  std::uint32_t file_ = 0;
  std::vector<std::uint32_t> pack_files_;  // StoredPack::file, by its own numbers of packs
  std::optional<std::uint32_t> preferred_file_;
  std::vector<ObjectNumber> numbers_;
};

}  // namespace weir::git
