#pragma once
// ObjectStore: all objects of a repository under one numbering, wherever they are stored: packs one
// after the other, each in offset order, then loose objects. An object that is stored more than
// once has one canonical number, the one find() gives, and sets hold only those. Numbers follow the
// order in which packs are asked: first those of multi-pack-indexes, which choose between copies as
// git did; so a delta mostly comes after its base, whichever copy of it counts. Contents are
// inflated through their delta chains with a bounded cache (kContentCacheBytesMax). Files are
// mapped and hostile. One thread; planner processes and tests only.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "git/covered_packs.h"
#include "git/loose_bundle.h"
#include "git/object_codec.h"
#include "git/object_id.h"
#include "git/object_set.h"
#include "git/object_type.h"
#include "git/pack.h"
#include "git/repository_view.h"
#include "git/stored_pack.h"
#include "io/error.h"

namespace weir::git {

// Names that were looked up lately: neighbouring trees name the same objects again and again.
inline constexpr std::size_t kFoundSlots = 64UL * 1024;  // of 40 bytes
inline constexpr std::uint64_t kContentCacheBytesMax = 48UL * 1024 * 1024;
// Of one object that is read whole: larger ones are git's.
inline constexpr std::uint64_t kContentBytesMax = 64UL * 1024 * 1024;

struct ObjectContent {
  ObjectType type = ObjectType::blob;
  std::shared_ptr<const std::string> bytes;

  std::span<const std::uint8_t> span() const {
    return {reinterpret_cast<const std::uint8_t*>(bytes->data()), bytes->size()};
  }
};

class ObjectStore {
 public:
  using StoredPack = git::StoredPack;
  struct Place {
    const StoredPack* stored = nullptr;  // null: not in a pack
    std::uint32_t rank = 0;              // in the pack
  };

  // `files` must outlive the store. Packs whose index does not fit are Errc::corrupt;
  // multi-pack-indexes that do not fit are passed over.
  static io::Result<std::unique_ptr<ObjectStore>> open(
      const std::vector<MappedRepositoryFile>& files, ObjectFormat format);

  ObjectFormat format() const { return format_; }
  std::uint32_t count() const { return count_; }
  const std::vector<StoredPack>& packs() const { return packs_; }
  // Those that multi-pack-indexes cover.
  const std::vector<CoveredPacks>& covered() const { return covered_; }
  ObjectSet empty_set() const { return ObjectSet(count_); }

  std::optional<ObjectNumber> find(const ObjectId& id) const;
  ObjectId id(ObjectNumber number) const;
  Place place(ObjectNumber number) const;
  // The number sets know this copy by.
  ObjectNumber canonical(ObjectNumber number) const;
  io::Result<ObjectType> type(ObjectNumber number) const;
  io::Result<std::uint64_t> size(ObjectNumber number) const;
  // Errc::limit: larger than kContentBytesMax.
  io::Result<ObjectContent> read(ObjectNumber number);

 private:
  struct Found {
    ObjectId id;
    ObjectNumber number = 0;
  };
  struct Loose {
    LooseBundle bundle;
    ObjectNumber first = 0;
  };
  explicit ObjectStore(ObjectFormat format);
  io::Result<void> open_packs(const std::vector<MappedRepositoryFile>& files);
  io::Result<void> open_loose(const std::vector<MappedRepositoryFile>& files);
  io::Result<ObjectNumber> take_numbers(std::uint32_t objects);
  void settle();
  std::optional<ObjectNumber> look_up(const ObjectId& id) const;
  io::Result<ObjectContent> read_packed(const StoredPack& stored, std::uint32_t rank);
  // Null: the empty tree.
  const Loose* loose_of(ObjectNumber number) const;
  void keep(ObjectNumber number, const ObjectContent& content);

  ObjectFormat format_;
  ObjectId empty_tree_;
  std::uint32_t count_ = 0;
  std::vector<StoredPack> packs_;
  std::vector<CoveredPacks> covered_;
  std::vector<const StoredPack*> uncovered_;
  std::vector<Loose> loose_;
  ObjectSet settled_;  // numbers that are canonical, as far as is known without a search
  mutable Inflater inflater_;
  mutable std::vector<Found> found_;                           // direct-mapped by name
  std::vector<std::pair<ObjectNumber, ObjectContent>> cache_;  // direct-mapped by number
  std::uint64_t cache_bytes_ = 0;
};

}  // namespace weir::git
