#include "git/object_store.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "io/byte_channel.h"

namespace weir::git {
namespace {

constexpr std::size_t kCacheSlots = 16384;
constexpr std::uint64_t kCachedContentBytesMax = kContentCacheBytesMax / 16;
constexpr std::uint32_t kNumbersMax = 0xfffffff0;

std::span<const std::uint8_t> bytes_of(const std::vector<MappedRepositoryFile>& files,
                                       FileRole role, const RepositoryFile& pack) {
  for (const MappedRepositoryFile& file : files) {
    if (file.file.role == role && file.file.store == pack.store && file.file.name == pack.name) {
      return file.mapping.bytes();
    }
  }
  return {};
}

ObjectId empty_tree_of(ObjectFormat format) {
  return *ObjectId::from_hex(
      format == ObjectFormat::sha1
          ? "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
          : "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321");
}

std::span<std::uint8_t> writable(std::string& text) {
  return {reinterpret_cast<std::uint8_t*>(text.data()), text.size()};
}
}  // namespace

ObjectStore::ObjectStore(ObjectFormat format)
    : format_(format), empty_tree_(empty_tree_of(format)), found_(kFoundSlots) {}

io::Result<std::unique_ptr<ObjectStore>> ObjectStore::open(
    const std::vector<MappedRepositoryFile>& files, ObjectFormat format) {
  std::unique_ptr<ObjectStore> store(new ObjectStore(format));
  if (auto opened = store->open_packs(files); !opened) return std::unexpected(opened.error());
  if (auto opened = store->open_loose(files); !opened) return std::unexpected(opened.error());
  const io::Result<ObjectNumber> last = store->take_numbers(1);  // the empty tree
  if (!last) return std::unexpected(last.error());
  store->settle();
  return store;
}

io::Result<ObjectNumber> ObjectStore::take_numbers(std::uint32_t objects) {
  if (kNumbersMax - count_ < objects) return io::fail(io::Errc::limit, "objects of a repository");
  return std::exchange(count_, count_ + objects);
}

io::Result<void> ObjectStore::open_packs(const std::vector<MappedRepositoryFile>& files) {
  for (std::uint32_t i = 0; i < files.size(); ++i) {
    const RepositoryFile& file = files[i].file;
    if (file.role != FileRole::pack) continue;
    const PackFiles parts{.pack = files[i].mapping.bytes(),
                          .index = bytes_of(files, FileRole::pack_index, file),
                          .reverse_index = bytes_of(files, FileRole::pack_reverse_index, file)};
    io::Result<std::unique_ptr<Pack>> pack = Pack::open(parts, format_);
    if (!pack) return std::unexpected(pack.error());
    packs_.push_back({.pack = std::move(*pack), .first = 0, .file = i});
  }
  for (std::uint32_t i = 0; i < files.size(); ++i) {
    if (files[i].file.role != FileRole::multi_pack_index) continue;
    auto covered = CoveredPacks::open(files, i, packs_, format_);
    if (covered) covered_.push_back(std::move(*covered));
  }
  std::ranges::sort(packs_, {}, [this](const StoredPack& stored) {
    const auto by = std::ranges::find_if(
        covered_, [&stored](const CoveredPacks& covered) { return covered.covers(stored); });
    return std::tuple(by - covered_.begin(), by != covered_.end() && !by->prefers(stored),
                      stored.file);
  });
  for (StoredPack& stored : packs_) {
    const io::Result<ObjectNumber> first = take_numbers(stored.pack->count());
    if (!first) return std::unexpected(first.error());
    stored.first = *first;
  }
  std::erase_if(covered_, [this](CoveredPacks& covered) { return !covered.take_numbers(packs_); });
  for (const StoredPack& stored : packs_) {
    const auto covers = [&stored](const CoveredPacks& covered) { return covered.covers(stored); };
    if (std::ranges::none_of(covered_, covers)) uncovered_.push_back(&stored);
  }
  return {};
}

io::Result<void> ObjectStore::open_loose(const std::vector<MappedRepositoryFile>& files) {
  for (const MappedRepositoryFile& file : files) {
    if (file.file.role != FileRole::loose_objects) continue;
    io::Result<LooseBundle> bundle = LooseBundle::open(file.mapping.bytes(), format_);
    if (!bundle) return std::unexpected(bundle.error());
    const io::Result<ObjectNumber> first = take_numbers(bundle->count());
    if (!first) return std::unexpected(first.error());
    loose_.push_back({std::move(*bundle), *first});
  }
  return {};
}

// What is asked first has the last word.
void ObjectStore::settle() {
  settled_ = empty_set();
  if (!covered_.empty()) {
    for (const ObjectNumber number : covered_.front().numbers()) settled_.add(number);
  } else if (!packs_.empty()) {
    for (ObjectNumber number = 0; number < packs_.front().pack->count(); ++number) {
      settled_.add(number);
    }
  }
}

std::optional<ObjectNumber> ObjectStore::find(const ObjectId& id) const {
  std::uint32_t slot;
  std::memcpy(&slot, id.hash.data(), sizeof slot);
  Found& found = found_[slot % kFoundSlots];
  if (found.id == id) return found.number;
  const std::optional<ObjectNumber> number = look_up(id);
  if (number) found = {id, *number};
  return number;
}

std::optional<ObjectNumber> ObjectStore::look_up(const ObjectId& id) const {
  for (const CoveredPacks& covered : covered_) {
    if (const std::optional<ObjectNumber> number = covered.find(id)) return number;
  }
  for (const StoredPack* const stored : uncovered_) {
    if (const std::optional<std::uint32_t> rank = stored->pack->find(id)) {
      return stored->first + *rank;
    }
  }
  for (const Loose& loose : loose_) {
    if (const std::optional<std::uint32_t> at = loose.bundle.find(id)) return loose.first + *at;
  }
  if (id == empty_tree_) return count_ - 1;
  return std::nullopt;
}

ObjectStore::Place ObjectStore::place(ObjectNumber number) const {
  auto after = std::upper_bound(
      packs_.begin(), packs_.end(), number,
      [](ObjectNumber value, const StoredPack& stored) { return value < stored.first; });
  while (after != packs_.begin()) {
    --after;
    if (number - after->first < after->pack->count()) return {&*after, number - after->first};
    if (after->pack->count() != 0) break;
  }
  return {};
}

const ObjectStore::Loose* ObjectStore::loose_of(ObjectNumber number) const {
  if (number == count_ - 1) return nullptr;
  const auto after = std::find_if(loose_.rbegin(), loose_.rend(), [number](const Loose& loose) {
    return loose.first <= number && loose.bundle.count() != 0;
  });
  return &*after;
}

ObjectId ObjectStore::id(ObjectNumber number) const {
  const Place at = place(number);
  if (at.stored != nullptr) return at.stored->pack->id_at(at.rank);
  const Loose* const loose = loose_of(number);
  return loose != nullptr ? loose->bundle.id_at(number - loose->first) : empty_tree_;
}

ObjectNumber ObjectStore::canonical(ObjectNumber number) const {
  if (settled_.contains(number)) return number;
  return find(id(number)).value_or(number);
}

io::Result<ObjectType> ObjectStore::type(ObjectNumber number) const {
  const Place at = place(number);
  if (at.stored != nullptr) return at.stored->pack->type_at(at.rank);
  const Loose* const loose = loose_of(number);
  if (loose == nullptr) return ObjectType::tree;
  const auto head = loose->bundle.head_at(number - loose->first, inflater_);
  if (!head) return std::unexpected(head.error());
  return head->type;
}

io::Result<std::uint64_t> ObjectStore::size(ObjectNumber number) const {
  const Place at = place(number);
  if (at.stored != nullptr) return at.stored->pack->size_at(at.rank);
  const Loose* const loose = loose_of(number);
  if (loose == nullptr) return 0;
  const auto head = loose->bundle.head_at(number - loose->first, inflater_);
  if (!head) return std::unexpected(head.error());
  return head->size;
}

io::Result<ObjectContent> ObjectStore::read(ObjectNumber number) {
  const Place at = place(number);
  if (at.stored != nullptr) return read_packed(*at.stored, at.rank);
  std::string content;
  const Loose* const loose = loose_of(number);
  if (loose == nullptr) {
    return ObjectContent{ObjectType::tree, std::make_shared<const std::string>()};
  }
  const io::Result<LooseBundle::Head> head =
      loose->bundle.read(number - loose->first, inflater_, kContentBytesMax, content);
  if (!head) return std::unexpected(head.error());
  return ObjectContent{head->type, std::make_shared<const std::string>(std::move(content))};
}

io::Result<ObjectContent> ObjectStore::read_packed(const StoredPack& stored, std::uint32_t rank) {
  Pack& pack = *stored.pack;
  if (cache_.empty()) cache_.resize(kCacheSlots);
  std::vector<PackEntry> deltas;  // the asked for first
  ObjectContent base;
  for (;;) {
    const ObjectNumber number = stored.first + rank;
    const auto& [cached_number, cached] = cache_[number % kCacheSlots];
    if (cached.bytes != nullptr && cached_number == number) {
      base = cached;
      break;
    }
    const io::Result<PackEntry> entry = pack.entry_at(rank);
    if (!entry) return std::unexpected(entry.error());
    if (entry->size > kContentBytesMax) return io::fail(io::Errc::limit, "size of an object");
    if (!entry->is_delta()) {
      std::string content(entry->size, '\0');
      const io::Result<std::size_t> inflated = inflater_.inflate(
          pack.bytes().subspan(entry->data_offset(), entry->data_bytes()), writable(content));
      if (!inflated) return std::unexpected(inflated.error());
      base = {entry->type, std::make_shared<const std::string>(std::move(content))};
      keep(number, base);
      break;
    }
    if (deltas.size() >= kDeltaChainMax) return io::fail(io::Errc::corrupt, "delta chain");
    deltas.push_back(*entry);
    rank = entry->base_rank;
  }
  while (!deltas.empty()) {
    const PackEntry& entry = deltas.back();
    std::string delta(entry.size, '\0');
    const io::Result<std::size_t> inflated = inflater_.inflate(
        pack.bytes().subspan(entry.data_offset(), entry.data_bytes()), writable(delta));
    if (!inflated) return std::unexpected(inflated.error());
    const std::optional<DeltaSizes> sizes = delta_sizes(io::as_bytes(delta));
    if (!sizes) return io::fail(io::Errc::corrupt, "delta");
    if (sizes->result > kContentBytesMax) return io::fail(io::Errc::limit, "size of an object");
    std::string content(sizes->result, '\0');
    if (!apply_delta(io::as_bytes(*base.bytes), io::as_bytes(delta), writable(content))) {
      return io::fail(io::Errc::corrupt, "delta");
    }
    base.bytes = std::make_shared<const std::string>(std::move(content));
    const std::optional<std::uint32_t> at = pack.rank_at(entry.offset);
    if (at) keep(stored.first + *at, base);
    deltas.pop_back();
  }
  return base;
}

void ObjectStore::keep(ObjectNumber number, const ObjectContent& content) {
  if (content.bytes->size() > kCachedContentBytesMax) return;
  auto& [cached_number, cached] = cache_[number % kCacheSlots];
  if (cached.bytes != nullptr) cache_bytes_ -= cached.bytes->size();
  cached_number = number;
  cached = content;
  cache_bytes_ += content.bytes->size();
  if (cache_bytes_ <= kContentCacheBytesMax) return;
  for (auto& slot : cache_) slot.second = {};
  cache_bytes_ = 0;
}

}  // namespace weir::git
