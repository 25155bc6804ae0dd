#include "git/delta_search.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace weir::git {
namespace {

constexpr std::uint64_t kSearchedBytesMin = 64;                // smaller objects are cheap whole
constexpr std::uint64_t kSearchedBytesMax = 16 * 1024 * 1024;  // larger ones cost too much time
constexpr std::uint64_t kSizeFactorMax = 8;  // that a base may be larger or smaller
constexpr std::size_t kCandidatesMax = 3;
constexpr std::uint64_t kSmallPart = 100;  // of its object: so small a delta ends the search
constexpr std::uint64_t kReferenceBytes = 20;
constexpr int kDeflateLevel = 6;

}  // namespace

std::optional<ObjectNumber> base_in_answer(const ObjectStore& store, const FoundDeltas& found,
                                           const ObjectSet& answer, ObjectNumber object) {
  ObjectNumber base = kNoObject;
  if (const auto delta = found.find(object); delta != found.end()) {
    base = delta->second.base;
  } else {
    const ObjectStore::Place at = store.place(object);
    if (at.stored == nullptr) return std::nullopt;
    const io::Result<std::uint32_t> rank = at.stored->pack->base_of(at.rank);
    if (!rank || *rank == kNoRank) return std::nullopt;
    base = store.canonical(at.stored->first + *rank);
  }
  if (!answer.contains(base)) return std::nullopt;
  return base;
}

io::Result<FoundDeltas> DeltaSearch::find(const ObjectSet& answer, const PathHints& hints,
                                          const SearchLimits& limits) {
  std::vector<Need> needs;
  const io::Result<std::uint64_t> answer_bytes = look_at_needs(answer, hints, needs);
  if (!answer_bytes) return std::unexpected(answer_bytes.error());
  if (*answer_bytes > limits.answer_bytes_max) return FoundDeltas();
  compared_bytes_max_ = limits.compared_bytes_max;
  for (const Need& need : needs) {
    if (limits.expired && limits.expired()) break;
    const io::Result<void> searched = search(need, answer, hints);
    if (!searched) return std::unexpected(searched.error());
  }
  return std::move(found_);
}

// Which objects could do with a delta; returns what the answer takes as stored.
io::Result<std::uint64_t> DeltaSearch::look_at_needs(const ObjectSet& answer,
                                                     const PathHints& hints,
                                                     std::vector<Need>& needs) const {
  std::uint64_t answer_bytes = 0;
  io::Result<void> looked;
  answer.for_each([&](ObjectNumber object) {
    if (!looked) return;
    const bool hinted = hints.path_of(object) != PathHints::kNoPath;
    const ObjectStore::Place at = store_.place(object);
    if (at.stored == nullptr) {
      if (hinted) needs.push_back({object, 0});
      return;
    }
    const Pack& pack = *at.stored->pack;
    const std::uint64_t bytes = pack.end_at(at.rank) - pack.offset_at(at.rank);
    answer_bytes += bytes;
    if (!hinted) return;
    const io::Result<std::uint32_t> rank = pack.base_of(at.rank);
    if (!rank) {
      looked = std::unexpected(rank.error());
      return;
    }
    if (*rank == kNoRank) {
      if (bytes >= kSearchedBytesMin) needs.push_back({object, bytes});
      return;
    }
    const ObjectNumber base = store_.canonical(at.stored->first + *rank);
    if (answer.contains(base)) return;
    if (client_has_ != nullptr && client_has_->contains(base)) return;
    needs.push_back({object, 0});
  });
  if (!looked) return std::unexpected(looked.error());
  return answer_bytes;
}

io::Result<void> DeltaSearch::search(const Need& need, const ObjectSet& answer,
                                     const PathHints& hints) {
  const ObjectNumber object = need.object;
  const io::Result<std::uint64_t> size = store_.size(object);
  if (!size) return std::unexpected(size.error());
  if (*size < kSearchedBytesMin) return {};
  const PathHints::Path path = hints.path_of(object);
  std::array<ObjectNumber, 4> candidates{};
  std::size_t count = 0;
  const std::span<const ObjectNumber> versions = hints.lacking_at(path);
  const auto here = std::ranges::find(versions, object);
  if (here + 1 != versions.end()) candidates[count++] = *(here + 1);
  if (here != versions.begin()) candidates[count++] = *(here - 1);
  if (client_has_ != nullptr) {
    for (const ObjectNumber base : hints.client_at(path)) {
      if (client_has_->contains(base)) candidates[count++] = base;
    }
  }
  FoundDelta best;
  std::vector<ObjectNumber> best_chain;
  for (std::size_t i = 0; i < std::min(count, kCandidatesMax); ++i) {
    const ObjectNumber base = candidates[i];
    std::optional<std::vector<ObjectNumber>> chain = chain_below(object, base, answer);
    if (!chain) continue;
    io::Result<ReencodeStore::Entry> entry = delta_of(object, base);
    if (!entry) return std::unexpected(entry.error());
    if (*entry == nullptr || (*entry)->empty()) continue;
    if (best.entry != nullptr && (*entry)->size() >= best.entry->size()) continue;
    best = {base, std::move(*entry)};
    best_chain = std::move(*chain);
    if (best.entry->size() * kSmallPart <= *size) break;
  }
  if (best.entry == nullptr) return {};
  if (need.sent_bytes != 0 && best.entry->size() + kReferenceBytes >= need.sent_bytes) return {};
  found_.emplace(object, std::move(best));
  unsigned above = above_[object];
  for (const ObjectNumber base : best_chain) above_[base] = std::max(above_[base], ++above);
  return {};
}

std::optional<std::vector<ObjectNumber>> DeltaSearch::chain_below(ObjectNumber object,
                                                                  ObjectNumber base,
                                                                  const ObjectSet& answer) const {
  const auto upon = above_.find(object);
  const unsigned above = upon == above_.end() ? 0 : upon->second;
  std::vector<ObjectNumber> chain;
  if (!answer.contains(base)) return chain;  // the client's
  std::optional<ObjectNumber> at = base;
  for (; at; at = base_in_answer(store_, found_, answer, *at)) {
    chain.push_back(*at);
    if (*at == object || chain.size() + above >= kFoundChainMax) return std::nullopt;
  }
  return chain;
}

// Null: it was not looked for. Empty: it is not worth it.
io::Result<ReencodeStore::Entry> DeltaSearch::delta_of(ObjectNumber object, ObjectNumber base) {
  if (ReencodeStore::Entry kept = reencoded_.find(object, base)) return kept;
  if (compared_bytes_ >= compared_bytes_max_) return nullptr;
  const io::Result<std::uint64_t> object_bytes = store_.size(object);
  if (!object_bytes) return std::unexpected(object_bytes.error());
  const io::Result<std::uint64_t> base_bytes = store_.size(base);
  if (!base_bytes) return std::unexpected(base_bytes.error());
  const auto [smaller, larger] = std::minmax(*object_bytes, *base_bytes);
  if (larger > kSearchedBytesMax || larger / kSizeFactorMax > smaller) {
    return reencoded_.keep(object, base, {});
  }
  compared_bytes_ += *object_bytes + *base_bytes;
  const io::Result<ObjectContent> target = store_.read(object);
  if (!target) return std::unexpected(target.error());
  const io::Result<ObjectContent> from = store_.read(base);
  if (!from) return std::unexpected(from.error());
  std::string delta;
  if (target->type != from->type ||
      !encoder_.encode(from->span(), target->span(), target->bytes->size() / 2, delta)) {
    return reencoded_.keep(object, base, {});
  }
  if (!deflater_) deflater_.emplace(kDeflateLevel);
  std::string entry;
  append_entry_header(entry, kRefDelta, delta.size());
  deflater_->deflate({reinterpret_cast<const std::uint8_t*>(delta.data()), delta.size()}, entry);
  return reencoded_.keep(object, base, std::move(entry));
}

}  // namespace weir::git
