#include "git/native_ref_snapshot.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "git/hide_refs.h"
#include "io/check.h"
#include "io/digest.h"

namespace weir::git {
namespace {

constexpr int kSymrefDepthMax = 5;  // git's SYMREF_MAXDEPTH
// Chunk sizes in refs: about 64 KiB of pkt-lines on average, whatever the names are.
constexpr std::size_t kChunkRefsMin = 256;
constexpr std::size_t kChunkRefsMax = 4096;

struct Resolver {
  const RefSources& sources;

  // Follows `ref` (loose) to an object. nullopt: broken; a null id: the last target does not exist.
  std::optional<RefOverlay::Item> resolve(const LooseRef& ref) const {
    RefOverlay::Item item{ref.name, ref.id, {}, {}, false};
    if (ref.broken()) return std::nullopt;
    if (ref.target.empty()) return item;
    item.target = ref.target;
    for (int depth = 0; depth < kSymrefDepthMax; ++depth) {
      const auto& loose = sources.loose.refs;
      const auto found = std::ranges::lower_bound(loose, item.target, {}, &LooseRef::name);
      if (found == loose.end() || found->name != item.target) return from_packed(std::move(item));
      if (found->broken()) return std::nullopt;
      if (found->target.empty()) {
        item.id = found->id;
        return item;
      }
      item.target = found->target;
    }
    return std::nullopt;
  }

  RefOverlay::Item from_packed(RefOverlay::Item item) const {
    const PackedRefs& packed = *sources.packed;
    const std::size_t index = packed.lower_bound(item.target);
    if (index == packed.size() || packed.name(index) != item.target) return item;
    const RefLine line = packed.at(index);
    item.id = ObjectId::from_hex(line.hex).value_or(ObjectId{});
    if (!line.peeled_hex.empty()) {
      item.peeled = ObjectId::from_hex(line.peeled_hex).value_or(ObjectId{});
    }
    item.peel_known =
        !std::ranges::binary_search(packed.unpeeled(), static_cast<std::uint32_t>(index));
    return item;
  }
};

std::size_t hash_hex(const char* hex) {
  // Ids are chosen by who pushes; the seed keeps them from choosing slots as well.
  static const std::uint64_t seed = [] {
    std::array<std::uint8_t, 8> bytes;
    io::fill_random(bytes);
    return std::bit_cast<std::uint64_t>(bytes) | 1;
  }();
  std::uint64_t first;
  std::uint64_t second;
  std::memcpy(&first, hex, 8);
  std::memcpy(&second, hex + 8, 8);
  const std::uint64_t mixed = (first ^ std::rotl(second, 29) ^ seed) * 0x9e3779b97f4a7c15U;
  return (mixed ^ (mixed >> 32)) * seed >> 20;
}

}  // namespace

RefOverlay resolve_refs(const RefSources& sources) {
  const Resolver resolver{sources};
  const PackedRefs& packed = *sources.packed;
  RefOverlay overlay;
  overlay.broken = sources.loose.broken + packed.skipped();
  for (const LooseRef& ref : sources.loose.refs) {
    auto item = resolver.resolve(ref);
    if (!item || item->id.bytes == 0) {
      if (!ref.broken()) ++overlay.broken;
      item = RefOverlay::Item{ref.name, {}, {}, {}, true};
    }
    overlay.items.push_back(std::move(*item));
  }
  for (const std::uint32_t index : packed.unpeeled()) {
    const RefLine line = packed.at(index);
    const auto& loose = sources.loose.refs;
    const auto found = std::ranges::lower_bound(loose, line.name, {}, &LooseRef::name);
    if (found != loose.end() && found->name == line.name) continue;
    overlay.items.push_back(
        {std::string(line.name), ObjectId::from_hex(line.hex).value_or(ObjectId{}), {}, {}, false});
  }
  std::ranges::sort(overlay.items, {}, &RefOverlay::Item::name);
  LooseRef head = sources.loose.head;
  head.name = "HEAD";
  auto resolved = resolver.resolve(head);
  if (resolved) overlay.head = std::move(*resolved);
  return overlay;
}

std::vector<ObjectId> RefOverlay::unknown_ids(const PeelMap& known) const {
  std::unordered_set<ObjectId, ObjectIdHash> ids;
  const auto consider = [&](const Item& item) {
    if (item.id.bytes != 0 && !item.peel_known && !known.contains(item.id)) ids.insert(item.id);
  };
  std::ranges::for_each(items, consider);
  consider(head);
  return {ids.begin(), ids.end()};
}

std::shared_ptr<NativeRefSnapshot> NativeRefSnapshot::build(const RefSources& sources,
                                                            const RefOverlay& overlay,
                                                            const PeelMap& peels,
                                                            const NativeRefSnapshot* previous) {
  std::shared_ptr<NativeRefSnapshot> snapshot(new NativeRefSnapshot);
  snapshot->config_ = sources.config;
  snapshot->packed_ = sources.packed;
  snapshot->shallow_ = sources.shallow;
  snapshot->head_ = overlay.head;
  if (!snapshot->head_.peel_known) {
    const auto peeled = peels.find(overlay.head.id);
    if (peeled != peels.end()) snapshot->head_.peeled = peeled->second;
  }
  const RepositoryConfig& config = *sources.config;
  const std::vector<std::uint32_t> candidates = snapshot->merge(overlay, peels);
  if (!config.hide_refs_fetch.empty() || !config.hide_refs_push.empty()) {
    snapshot->hidden_.resize(snapshot->lines_.size());
    snapshot->hide(Service::upload_pack, config.hide_refs_fetch);
    snapshot->hide(Service::receive_pack, config.hide_refs_push);
  }
  snapshot->cut(candidates, previous);
  snapshot->index_ids(snapshot->ids_[0], Service::upload_pack);
  if (!snapshot->hidden_.empty()) {
    snapshot->index_ids(snapshot->ids_[1], Service::receive_pack);
  }
  snapshot->digest_ = snapshot->compute_digest();
  snapshot->memory_.grow(snapshot->own_bytes());
  if (previous != nullptr) snapshot->wanted_ = previous->wanted_.load(std::memory_order_relaxed);
  const std::uint8_t wanted = snapshot->wanted_.load(std::memory_order_relaxed);
  Answer nobody;
  for (std::uint8_t form = 0; form < kForms; ++form) {
    if ((wanted & (1U << form)) == 0) continue;
    for (std::size_t chunk = 0; chunk < snapshot->chunks_.size(); ++chunk) {
      snapshot->rendered(static_cast<Form>(form), chunk, nobody);
    }
  }
  return snapshot;
}

std::vector<std::uint32_t> NativeRefSnapshot::merge(const RefOverlay& overlay,
                                                    const PeelMap& peels) {
  const PackedRefs& packed = *packed_;
  std::vector<std::size_t> offsets;
  for (const RefOverlay::Item& item : overlay.items) {
    offsets.push_back(overlay_.size());
    if (item.id.bytes == 0) continue;
    ObjectId peeled = item.peeled;
    if (!item.peel_known) {
      const auto known = peels.find(item.id);
      if (known != peels.end()) peeled = known->second;
    }
    overlay_ += item.id.to_hex() + " " + item.name + "\n";
    if (!item.target.empty()) overlay_ += "@" + item.target + "\n";
    if (peeled.bytes != 0) overlay_ += "^" + peeled.to_hex() + "\n";
  }

  std::vector<std::uint32_t> candidates;
  std::size_t start = 0;  // into packed.chunk_starts()
  const std::vector<std::uint32_t>& starts = packed.chunk_starts();
  const auto take_packed = [&](std::size_t begin, std::size_t end) {
    for (; start < starts.size() && starts[start] < end; ++start) {
      if (starts[start] < begin) continue;
      candidates.push_back(static_cast<std::uint32_t>(lines_.size() + starts[start] - begin));
    }
    for (std::size_t i = begin; i < end; ++i) lines_.push_back(packed.line(i));
  };
  lines_.reserve(packed.size() + overlay.items.size());
  std::size_t taken = 0;
  for (std::size_t i = 0; i < overlay.items.size(); ++i) {
    const RefOverlay::Item& item = overlay.items[i];
    const std::size_t place = packed.lower_bound(item.name);
    take_packed(taken, place);
    taken = place < packed.size() && packed.name(place) == item.name ? place + 1 : place;
    if (item.id.bytes == 0) continue;
    if (begins_chunk(item.name)) candidates.push_back(static_cast<std::uint32_t>(lines_.size()));
    lines_.push_back(overlay_.data() + offsets[i]);
  }
  take_packed(taken, packed.size());
  return candidates;
}

// The chunks depend on the names alone: of the candidates those are taken that leave neither too
// small nor too large a chunk, from the front.
void NativeRefSnapshot::cut(const std::vector<std::uint32_t>& candidates,
                            const NativeRefSnapshot* previous) {
  std::size_t last = 0;
  const auto split_until = [&](std::size_t end) {
    while (end - last > kChunkRefsMax) {
      last += kChunkRefsMax;
      starts_.push_back(static_cast<std::uint32_t>(last));
    }
  };
  if (!lines_.empty()) starts_.push_back(0);
  for (const std::uint32_t candidate : candidates) {
    split_until(candidate);
    if (candidate - last < kChunkRefsMin) continue;
    last = candidate;
    starts_.push_back(candidate);
  }
  split_until(lines_.size());

  const bool comparable = previous != nullptr && previous->format() == format() &&
                          previous->config_->hide_refs_fetch == config_->hide_refs_fetch &&
                          previous->config_->hide_refs_push == config_->hide_refs_push;
  std::size_t other = 0;
  std::string joined;
  for (std::size_t chunk = 0; chunk < starts_.size(); ++chunk) {
    if (comparable) {
      while (other < previous->starts_.size() &&
             previous->name(previous->starts_[other]) < name(starts_[chunk])) {
        ++other;
      }
      if (other < previous->starts_.size() && same_lines(chunk, *previous, other)) {
        chunks_.push_back(previous->chunks_[other]);
        continue;
      }
    }
    auto fresh = std::make_shared<Chunk>();
    joined.clear();
    for (std::size_t i = starts_[chunk]; i < chunk_end(chunk); ++i) joined += line(i).whole;
    fresh->digest = io::sha256(joined);
    chunks_.push_back(std::move(fresh));
  }
}

bool NativeRefSnapshot::same_lines(std::size_t chunk, const NativeRefSnapshot& other,
                                   std::size_t other_chunk) const {
  const std::size_t begin = starts_[chunk];
  const std::size_t count = chunk_end(chunk) - begin;
  const std::size_t other_begin = other.starts_[other_chunk];
  if (other.chunk_end(other_chunk) - other_begin != count) return false;
  for (std::size_t i = 0; i < count; ++i) {
    if (lines_[begin + i] == other.lines_[other_begin + i]) continue;
    if (line(begin + i).whole != other.line(other_begin + i).whole) return false;
  }
  return true;
}

// Patterns are ranges of the sorted names; painted in order, so that the last one that matches
// wins.
void NativeRefSnapshot::hide(Service service, const std::vector<std::string>& patterns) {
  const auto bit = static_cast<std::uint8_t>(1U << static_cast<unsigned>(service));
  for (const std::string& text : patterns) {
    const HidePattern pattern(text);
    const auto paint = [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        hidden_[i] =
            static_cast<std::uint8_t>(pattern.hides ? hidden_[i] | bit : hidden_[i] & ~bit);
      }
    };
    const std::size_t exact = lower_bound(pattern.prefix);
    if (exact < lines_.size() && name(exact) == pattern.prefix) paint(exact, exact + 1);
    // '0' follows '/'.
    paint(lower_bound(std::string(pattern.prefix) + "/"),
          lower_bound(std::string(pattern.prefix) + "0"));
  }
  if (is_hidden("HEAD", patterns)) head_hidden_ |= bit;
}

void NativeRefSnapshot::index_ids(IdTable& table, Service service) const {
  const std::size_t hex = packed_->hex_bytes();
  const auto size = std::bit_ceil(2 * lines_.size() + 16);
  table.slots.assign(size, 0);
  const auto insert = [&](std::string_view id, std::uint32_t value) {
    std::size_t slot = hash_hex(id.data()) & (table.slots.size() - 1);
    for (;; slot = (slot + 1) & (table.slots.size() - 1)) {
      const std::uint32_t there = table.slots[slot];
      if (there == 0) break;
      const RefLine ref = line((there - 1) / 2);
      if (((there - 1) % 2 == 0 ? ref.hex : ref.peeled_hex) == id) return;  // many refs, one id
    }
    table.slots[slot] = value;
    ++table.used;
  };
  // Peeled ids come second: they may need a larger table.
  std::size_t peeled = 0;
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    if (hidden(i, service)) continue;
    insert({lines_[i], hex}, static_cast<std::uint32_t>(2 * i + 1));
    if (!line(i).peeled_hex.empty()) ++peeled;
  }
  if (peeled == 0) return;
  if (2 * (table.used + peeled) > table.slots.size()) {
    const std::vector<std::uint32_t> old = std::exchange(
        table.slots, std::vector<std::uint32_t>(std::bit_ceil(2 * (table.used + peeled))));
    table.used = 0;
    for (const std::uint32_t value : old) {
      if (value != 0) insert({lines_[(value - 1) / 2], hex}, value);
    }
  }
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    if (hidden(i, service)) continue;
    const std::string_view id = line(i).peeled_hex;
    if (!id.empty()) insert(id, static_cast<std::uint32_t>(2 * i + 2));
  }
}

bool NativeRefSnapshot::advertises(const ObjectId& id, Service service) const {
  if (id.bytes != hash_bytes(format())) return false;
  if (head_visible(service) && (id == head_.id || id == head_.peeled)) return true;
  const IdTable& table = ids_[hidden_.empty() ? 0 : static_cast<std::size_t>(service)];
  const std::string hex = id.to_hex();
  for (std::size_t slot = hash_hex(hex.data());; ++slot) {
    const std::uint32_t there = table.slots[slot & (table.slots.size() - 1)];
    if (there == 0) return false;
    const RefLine ref = line((there - 1) / 2);
    if (((there - 1) % 2 == 0 ? ref.hex : ref.peeled_hex) == hex) return true;
  }
}

std::string NativeRefSnapshot::compute_digest() const {
  std::string text = "weir refs 1 ";
  text += format_name(format());
  text += "\nHEAD " + head_.target + " " + head_.id.to_hex() + "\n";
  for (const auto& chunk : chunks_) {
    text.append(reinterpret_cast<const char*>(chunk->digest.data()), chunk->digest.size());
  }
  const io::Sha256Digest digest = io::sha256(text);
  return io::to_hex(digest);
}

std::size_t NativeRefSnapshot::lower_bound(std::string_view wanted) const {
  std::size_t low = 0;
  std::size_t high = lines_.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (name(middle) < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

Ref NativeRefSnapshot::at(std::size_t index) const {
  WEIR_CHECK(index < lines_.size());
  const RefLine ref = line(index);
  Ref result{ref.name, ObjectId::from_hex(ref.hex).value_or(ObjectId{}), {}, ref.target, 0};
  if (!ref.peeled_hex.empty()) {
    result.peeled = ObjectId::from_hex(ref.peeled_hex).value_or(ObjectId{});
  }
  if (!hidden_.empty()) result.hidden = hidden_[index];
  return result;
}

std::optional<Ref> NativeRefSnapshot::find(std::string_view wanted) const {
  const std::size_t index = lower_bound(wanted);
  if (index == lines_.size() || name(index) != wanted) return std::nullopt;
  return at(index);
}

std::size_t NativeRefSnapshot::own_bytes() const {
  return sizeof *this + overlay_.size() + lines_.size() * sizeof lines_[0] + hidden_.size() +
         chunks_.size() * sizeof chunks_[0] + 4 * (ids_[0].slots.size() + ids_[1].slots.size());
}

std::size_t NativeRefSnapshot::bytes() const {
  std::size_t total = own_bytes() + packed_->bytes() + chunks_.size() * (sizeof(Chunk) + 32);
  for (const auto& chunk : chunks_) {
    const std::lock_guard lock(chunk->mutex);
    for (const auto& bytes : chunk->rendered) {
      if (bytes != nullptr) total += bytes->size();
    }
  }
  return total;
}

std::size_t NativeRefSnapshot::chunks_shared_for_test(const NativeRefSnapshot& other) const {
  return static_cast<std::size_t>(std::ranges::count_if(chunks_, [&](const auto& chunk) {
    return std::ranges::find(other.chunks_, chunk) != other.chunks_.end();
  }));
}

}  // namespace weir::git
