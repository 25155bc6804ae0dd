#include "git/stored_bitmaps.h"

#include <utility>

namespace weir::git {

StoredBitmaps::StoredBitmaps(const std::vector<MappedRepositoryFile>& files,
                             const ObjectStore& store)
    : store_(store) {
  for (const CoveredPacks& covered : store.covered()) {
    for (const MappedRepositoryFile& file : files) {
      if (file.file.role != FileRole::multi_pack_bitmap) continue;
      if (file.file.store != files[covered.file()].file.store) continue;
      const MultiPackIndex& index = covered.index();
      add_source(file, index.checksum(),
                 {.bitmap = nullptr, .covered = &covered, .bits = index.count()});
    }
  }
  for (const StoredPack& stored : store.packs()) {
    const RepositoryFile& pack = files[stored.file].file;
    for (const MappedRepositoryFile& file : files) {
      if (file.file.role != FileRole::pack_bitmap) continue;
      if (file.file.store != pack.store || file.file.name != pack.name) continue;
      add_source(file, stored.pack->trailer(),
                 {.bitmap = nullptr, .stored = &stored, .bits = stored.pack->count()});
    }
  }
}

void StoredBitmaps::add_source(const MappedRepositoryFile& file,
                               std::span<const std::uint8_t> checksum, Source source) {
  auto bitmap =
      ReachabilityBitmap::open(file.mapping.bytes(), store_.format(), source.bits, checksum);
  if (!bitmap) return;
  source.bitmap = std::move(*bitmap);
  sources_.push_back(std::move(source));
}

// By which its bitmap knows the commit.
std::optional<std::uint32_t> StoredBitmaps::position(const Source& source,
                                                     ObjectNumber commit) const {
  if (source.covered != nullptr) return source.covered->index().find(store_.id(commit));
  const std::uint32_t rank = commit - source.stored->first;
  if (commit < source.stored->first || rank >= source.stored->pack->count()) return std::nullopt;
  return source.stored->pack->position_of_rank(rank);
}

// False: the bits have no order, or one that cannot be.
bool StoredBitmaps::make_stretches(Source& source) const {
  if (!source.stretches.empty()) return true;
  std::vector<ObjectNumber> by_bit;
  if (source.covered != nullptr) {
    by_bit = source.covered->numbers_by_bit();
    if (by_bit.empty()) return false;
  }
  ObjectNumber next = 0;
  for (std::uint32_t bit = 0; bit < source.bits; ++bit) {
    // What is stored elsewhere, too, may go by its number there.
    const ObjectNumber number =
        store_.canonical(by_bit.empty() ? source.stored->first + bit : by_bit[bit]);
    if (bit == 0 || number != next) source.stretches.push_back({bit, number});
    next = number + 1;
  }
  return true;
}

io::Result<bool> StoredBitmaps::add_reachable(ObjectNumber commit, ObjectSet& into) {
  for (auto source = sources_.begin(); source != sources_.end();) {
    const std::optional<std::uint32_t> at = position(*source, commit);
    if (!at || !source->bitmap->has(*at)) {
      ++source;
      continue;
    }
    if (!make_stretches(*source)) {
      source = sources_.erase(source);
      continue;
    }
    const io::Result<std::optional<ObjectSet>> set = source->bitmap->reachable_from(*at);
    if (!set) return std::unexpected(set.error());
    if (!*set) return false;
    const std::vector<Stretch>& stretches = source->stretches;
    for (std::size_t i = 0; i < stretches.size(); ++i) {
      const auto [bit, number] = stretches[i];
      const std::uint32_t end = i + 1 < stretches.size() ? stretches[i + 1].bit : source->bits;
      into.add_stretch(number, **set, bit, end - bit);
    }
    return true;
  }
  return false;
}

}  // namespace weir::git
