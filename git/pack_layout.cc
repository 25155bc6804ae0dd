#include "git/pack_layout.h"

#include <algorithm>
#include <array>
#include <utility>

#include "io/byte_channel.h"

namespace weir::git {
namespace {

// gitformat-pack(5): the distance back to a base, most significant digit first, each digit but the
// last one more than it says.
void append_distance(std::string& out, std::uint64_t distance) {
  std::array<char, 10> digits;
  std::size_t at = digits.size();
  digits[--at] = static_cast<char>(distance & 0x7f);
  while ((distance >>= 7) != 0) {
    --distance;
    digits[--at] = static_cast<char>(0x80 | (distance & 0x7f));
  }
  out.append(digits.data() + at, digits.size() - at);
}

}  // namespace

io::Result<Recipe> PackLayout::make(ObjectSet objects) {
  if (const ObjectStore::StoredPack* const stored = whole_pack(objects)) {
    if (options_.ofs_delta) return send_whole(*stored);
    const io::Result<bool> distances = has_distances(*stored->pack);
    if (!distances) return std::unexpected(distances.error());
    if (!*distances) return send_whole(*stored);
  }
  if (options_.hints != nullptr) {
    DeltaSearch search(store_, reencoded_, options_.client_has);
    io::Result<FoundDeltas> found = search.find(objects, *options_.hints, options_.search);
    if (!found) return std::unexpected(found.error());
    found_ = std::move(*found);
  }
  const io::Result<void> added = add_bases(objects);
  if (!added) return std::unexpected(added.error());
  RecipeBuilder builder(store_.format());
  io::Result<void> placed;
  objects.for_each([&](ObjectNumber number) {
    turn_ = number;
    if (placed) placed = place_with_bases(builder, objects, number);
  });
  if (!placed) return std::unexpected(placed.error());
  return builder.finish(counts_, std::nullopt);
}

const ObjectStore::StoredPack* PackLayout::whole_pack(const ObjectSet& objects) const {
  const std::uint64_t count = objects.count();
  for (const ObjectStore::StoredPack& stored : store_.packs()) {
    if (stored.pack->count() != count || count == 0) continue;
    bool all = true;
    for (std::uint32_t i = 0; all && i < count; ++i) all = objects.contains(stored.first + i);
    if (all) return &stored;
  }
  return nullptr;
}

io::Result<bool> PackLayout::has_distances(const Pack& pack) const {
  for (std::uint32_t rank = 0; rank < pack.count(); ++rank) {
    const io::Result<PackEntry> entry = pack.entry_at(rank);
    if (!entry) return std::unexpected(entry.error());
    if (entry->is_delta() && !entry->by_name) return true;
  }
  return false;
}

Recipe PackLayout::send_whole(const ObjectStore::StoredPack& stored) const {
  const Pack& pack = *stored.pack;
  RecipeBuilder builder(store_.format());
  builder.add_extent(stored.file, kPackHeaderBytes,
                     pack.bytes().size() - kPackHeaderBytes - pack.trailer().size());
  PackTrailer trailer{};
  std::ranges::copy(pack.trailer(), trailer.begin());
  return builder.finish({.objects = pack.count()}, trailer);
}

// Adds the blobs that deltas of the answer need, as far as they may be seen and are few.
io::Result<void> PackLayout::add_bases(ObjectSet& objects) {
  std::vector<ObjectNumber> wanting;  // deltas without their base
  io::Result<void> looked;
  objects.for_each([&](ObjectNumber number) {
    const ObjectStore::Place at = store_.place(number);
    if (!looked || at.stored == nullptr || found_.contains(number)) return;
    Pack& pack = *at.stored->pack;
    answer_bytes_ += pack.end_at(at.rank) - pack.offset_at(at.rank);
    const io::Result<std::uint32_t> base = pack.base_of(at.rank);
    if (!base) {
      looked = std::unexpected(base.error());
    } else if (*base != kNoRank && !objects.contains(store_.canonical(at.stored->first + *base))) {
      wanting.push_back(number);
    }
  });
  if (!looked || wanting.empty() || !options_.visible) return looked;
  const io::Result<const ObjectSet*> visible = options_.visible();
  if (!visible) return std::unexpected(visible.error());
  if (*visible == nullptr) return {};
  for (const ObjectNumber number : wanting) {
    if (auto in_time = look_at_clock(); !in_time) return in_time;
    const io::Result<void> added = add_base(objects, **visible, number);
    if (!added) return added;
  }
  return {};
}

// Whether an object stands on a delta that was searched for, directly or through others. What is
// stored makes no circles; an extra base that stands upon such a delta could close one.
bool PackLayout::stands_on_found(const ObjectSet& objects, ObjectNumber object) const {
  if (found_.empty()) return false;
  std::optional<ObjectNumber> at = object;
  for (unsigned depth = 0; at && !found_.contains(*at) && depth < kDeltaChainMax; ++depth) {
    at = base_in_answer(store_, found_, objects, *at);
  }
  return at.has_value();
}

io::Result<void> PackLayout::add_base(ObjectSet& objects, const ObjectSet& visible,
                                      ObjectNumber delta) {
  ObjectStore::Place at = store_.place(delta);
  const io::Result<ObjectType> type = at.stored->pack->type_at(at.rank);
  if (!type) return std::unexpected(type.error());
  if (*type != ObjectType::blob) return {};
  const std::uint64_t extra_max =
      std::max(options_.extra_bytes_free, answer_bytes_ * options_.extra_percent_max / 100);
  std::vector<ObjectNumber> chain;
  std::uint64_t bytes = 0;
  for (;;) {
    const io::Result<std::uint32_t> base = at.stored->pack->base_of(at.rank);
    if (!base) return std::unexpected(base.error());
    if (*base == kNoRank) break;
    const ObjectNumber number = store_.canonical(at.stored->first + *base);
    if (objects.contains(number)) {
      if (stands_on_found(objects, number)) return {};
      break;
    }
    if (options_.client_has != nullptr && options_.client_has->contains(number)) break;
    at = store_.place(number);
    if (at.stored == nullptr || !visible.contains(number)) return {};
    bytes += at.stored->pack->end_at(at.rank) - at.stored->pack->offset_at(at.rank);
    if (extra_bytes_ + bytes > extra_max || chain.size() >= kDeltaChainMax) return {};
    chain.push_back(number);
  }
  for (const ObjectNumber number : chain) objects.add(number);
  extra_bytes_ += bytes;
  counts_.extra += static_cast<std::uint32_t>(chain.size());
  return {};
}

// A delta that was searched for may stand on an object that comes later: that one is placed first.
io::Result<void> PackLayout::place_with_bases(RecipeBuilder& builder, const ObjectSet& objects,
                                              ObjectNumber number) {
  if (found_.empty()) return place(builder, objects, number);
  if (early_.contains(number)) return {};
  std::vector<ObjectNumber> chain{number};
  while (const auto base = base_in_answer(store_, found_, objects, chain.back())) {
    if (offset_of(*base)) break;
    if (chain.size() > kDeltaChainMax) return io::fail(io::Errc::corrupt, "delta chain");
    chain.push_back(*base);
  }
  for (; !chain.empty(); chain.pop_back()) {
    const io::Result<void> placed = place(builder, objects, chain.back());
    if (!placed) return placed;
  }
  return {};
}

io::Result<void> PackLayout::place(RecipeBuilder& builder, const ObjectSet& objects,
                                   ObjectNumber number) {
  ++counts_.objects;
  if (const auto found = found_.find(number); found != found_.end()) {
    return place_found(builder, number, found->second);
  }
  const ObjectStore::Place at = store_.place(number);
  if (at.stored == nullptr) return place_anew(builder, number);
  const io::Result<std::uint32_t> base = at.stored->pack->base_of(at.rank);
  if (!base) return std::unexpected(base.error());
  if (*base == kNoRank) {
    place_as_stored(builder, number, at);
    return {};
  }
  return place_delta(builder, objects, number, at, at.stored->first + *base);
}

io::Result<void> PackLayout::place_delta(RecipeBuilder& builder, const ObjectSet& objects,
                                         ObjectNumber number, const ObjectStore::Place& at,
                                         ObjectNumber stored_base) {
  Pack& pack = *at.stored->pack;
  const ObjectNumber base = store_.canonical(stored_base);
  const bool in_answer = objects.contains(base);
  const bool at_client =
      !in_answer && options_.client_has != nullptr && options_.client_has->contains(base);
  if (!in_answer && !at_client) return place_anew(builder, number);
  const io::Result<PackEntry> entry = pack.entry_at(at.rank);
  if (!entry) return std::unexpected(entry.error());
  const std::optional<std::uint64_t> base_offset = in_answer ? offset_of(base) : std::nullopt;
  // A base that comes later can only be named; our own pack does so without a circle.
  if (in_answer && !base_offset && !(entry->by_name && base == stored_base)) {
    return place_anew(builder, number);
  }
  ++counts_.deltas;
  const std::uint64_t here = builder.offset();
  const bool as_stored =
      entry->by_name || (base_offset && options_.ofs_delta && base == stored_base &&
                         here - *base_offset == entry->offset - pack.offset_at(entry->base_rank));
  if (as_stored) {
    place_as_stored(builder, number, at);
    return {};
  }
  std::string header(reinterpret_cast<const char*>(pack.bytes().data()) + entry->offset,
                     entry->header_bytes);
  append_reference(header, base, here, base_offset);
  note(number, here, false);
  ++counts_.reused;
  builder.add_literal(io::as_bytes(header));
  builder.add_extent(at.stored->file, entry->data_offset(), entry->data_bytes());
  return {};
}

void PackLayout::place_as_stored(RecipeBuilder& builder, ObjectNumber number,
                                 const ObjectStore::Place& at) {
  const Pack& pack = *at.stored->pack;
  const std::uint64_t begin = pack.offset_at(at.rank);
  note(number, builder.offset(), true);
  ++counts_.reused;
  builder.add_extent(at.stored->file, begin, pack.end_at(at.rank) - begin);
}

io::Result<void> PackLayout::place_anew(RecipeBuilder& builder, ObjectNumber number) {
  note(number, builder.offset(), false);
  ++counts_.reencoded;
  if (const ReencodeStore::Entry kept = reencoded_.find(number, kNoObject)) {
    return add_literal(builder, *kept);
  }
  if (auto in_time = look_at_clock(); !in_time) return in_time;
  const io::Result<ObjectContent> content = store_.read(number);
  if (!content) return std::unexpected(content.error());
  std::string entry;
  append_entry_header(entry, static_cast<unsigned>(content->type), content->bytes->size());
  deflater_.deflate(content->span(), entry);
  return add_literal(builder, *reencoded_.keep(number, kNoObject, std::move(entry)));
}

io::Result<void> PackLayout::place_found(RecipeBuilder& builder, ObjectNumber number,
                                         const FoundDelta& delta) {
  ++counts_.deltas;
  ++counts_.reencoded;
  const std::uint64_t here = builder.offset();
  note(number, here, false);
  std::string entry;
  std::size_t header_bytes = 1;
  while ((static_cast<std::uint8_t>((*delta.entry)[header_bytes - 1]) & 0x80) != 0) ++header_bytes;
  entry.assign(*delta.entry, 0, header_bytes);
  append_reference(entry, delta.base, here, offset_of(delta.base));
  entry.append(*delta.entry, header_bytes);
  return add_literal(builder, entry);
}

// Completes the header of a delta that begins at `here`.
void PackLayout::append_reference(std::string& header, ObjectNumber base, std::uint64_t here,
                                  std::optional<std::uint64_t> base_offset) const {
  const bool by_distance = base_offset && options_.ofs_delta;
  const unsigned type = by_distance ? kOfsDelta : kRefDelta;
  header[0] =
      static_cast<char>((static_cast<std::uint8_t>(header[0]) & 0x8f) | (type << kEntryTypeShift));
  if (by_distance) {
    append_distance(header, here - *base_offset);
  } else {
    const ObjectId id = store_.id(base);
    header.append(reinterpret_cast<const char*>(id.hash.data()), id.bytes);
  }
}

io::Result<void> PackLayout::look_at_clock() const {
  if (options_.expired && options_.expired()) return io::fail(io::Errc::limit, "time of a layout");
  return {};
}

io::Result<void> PackLayout::add_literal(RecipeBuilder& builder, const std::string& bytes) {
  literal_bytes_ += bytes.size();
  if (literal_bytes_ > kLayoutLiteralBytesMax) return io::fail(io::Errc::limit, "literals");
  builder.add_literal(io::as_bytes(bytes));
  return {};
}

void PackLayout::note(ObjectNumber number, std::uint64_t offset, bool as_stored) {
  if (number != turn_) {
    early_.emplace(number, offset);
    return;
  }
  if (as_stored && !runs_.empty() && number != 0) {
    Run& run = runs_.back();
    const ObjectStore::Place first = store_.place(run.first);
    const ObjectStore::Place at = store_.place(number);
    if (run.last + 1 == number && run.as_stored && first.stored == at.stored) {
      const Pack& pack = *at.stored->pack;
      if (run.offset + pack.offset_at(at.rank) - pack.offset_at(first.rank) == offset) {
        run.last = number;
        return;
      }
    }
  }
  runs_.push_back({number, number, offset, as_stored});
}

std::optional<std::uint64_t> PackLayout::offset_of(ObjectNumber number) const {
  if (const auto early = early_.find(number); early != early_.end()) return early->second;
  auto after =
      std::upper_bound(runs_.begin(), runs_.end(), number,
                       [](ObjectNumber value, const Run& run) { return value < run.first; });
  if (after == runs_.begin()) return std::nullopt;
  --after;
  if (number > after->last) return std::nullopt;
  if (number == after->first) return after->offset;
  const ObjectStore::Place first = store_.place(after->first);
  const Pack& pack = *first.stored->pack;
  return after->offset + pack.offset_at(first.rank + (number - after->first)) -
         pack.offset_at(first.rank);
}

}  // namespace weir::git
