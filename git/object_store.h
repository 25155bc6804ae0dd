#pragma once
// ObjectStore: all objects of a repository under one numbering, wherever they are stored: packs one
// after the other, each in offset order, then loose objects. An object that is stored more than
// once has one canonical number, the one find() gives, and sets hold only those. Contents are
// inflated through their delta chains with a bounded cache (kContentCacheBytesMax). Files are
// mapped and hostile. One thread; planner processes and tests only.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "git/loose_bundle.h"
#include "git/object_codec.h"
#include "git/object_id.h"
#include "git/object_set.h"
#include "git/object_type.h"
#include "git/pack.h"
#include "git/repository_view.h"
#include "io/error.h"

namespace weir::git {

using ObjectNumber = std::uint32_t;
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
  // A pack of the store: its numbers begin at `first`.
  struct StoredPack {
    std::unique_ptr<Pack> pack;
    ObjectNumber first = 0;
    std::uint32_t file = 0;  // of the pack, in the list of files
  };
  struct Place {
    const StoredPack* stored = nullptr;  // null: not in a pack
    std::uint32_t rank = 0;              // in the pack
  };

  // `files` must outlive the store. Packs whose index does not fit are Errc::corrupt.
  static io::Result<std::unique_ptr<ObjectStore>> open(
      const std::vector<MappedRepositoryFile>& files, ObjectFormat format);

  ObjectFormat format() const { return format_; }
  std::uint32_t count() const { return count_; }
  const std::vector<StoredPack>& packs() const { return packs_; }
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
  explicit ObjectStore(ObjectFormat format) : format_(format), found_(kFoundSlots) {}
  std::optional<ObjectNumber> look_up(const ObjectId& id) const;
  io::Result<ObjectContent> read_packed(const StoredPack& stored, std::uint32_t rank);
  // Null: the empty tree.
  const Loose* loose_of(ObjectNumber number) const;
  void keep(ObjectNumber number, const ObjectContent& content);

  ObjectFormat format_;
  std::uint32_t count_ = 0;
  std::vector<StoredPack> packs_;
  std::vector<Loose> loose_;
  bool may_repeat_ = false;  // an object may be stored more than once
  mutable Inflater inflater_;
  mutable std::vector<Found> found_;                           // direct-mapped by name
  std::vector<std::pair<ObjectNumber, ObjectContent>> cache_;  // direct-mapped by number
  std::uint64_t cache_bytes_ = 0;
};

}  // namespace weir::git
