#pragma once
// DeltaSearch: finds small deltas for the objects of an answer that would be sent whole, or
// deflated anew because their stored base is not at hand: against what the client has at the same
// path, or against another version of the answer at that path. What was found, and what was not
// worth it, is kept in the ReencodeStore, so that it is paid once. No chain of bases comes back to
// where it began, and none is made longer than kFoundChainMax. Bounded by SearchLimits; what is not
// reached is sent as without a search. One thread; planner processes and tests only.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "git/delta_encoder.h"
#include "git/object_codec.h"
#include "git/object_set.h"
#include "git/object_store.h"
#include "git/path_hints.h"
#include "git/reencode_store.h"
#include "io/error.h"

namespace weir::git {

inline constexpr unsigned kFoundChainMax = 50;

struct SearchLimits {
  // Larger answers are not searched.
  std::uint64_t answer_bytes_max = ~std::uint64_t{0};
  // Of bases and targets together, those known from the ReencodeStore not counted.
  std::uint64_t compared_bytes_max = 512UL * 1024 * 1024;
  std::function<bool()> expired;  // asked before each object; null: never
};

// How some objects of an answer are sent instead of as stored.
struct FoundDelta {
  ObjectNumber base = kNoObject;
  ReencodeStore::Entry entry;
};
using FoundDeltas = std::unordered_map<ObjectNumber, FoundDelta>;

class DeltaSearch {
 public:
  // `client_has`: bases outside the answer; null: none.
  DeltaSearch(ObjectStore& store, ReencodeStore& reencoded, const ObjectSet* client_has)
      : store_(store), reencoded_(reencoded), client_has_(client_has) {}

  // Errors: corrupt.
  io::Result<FoundDeltas> find(const ObjectSet& answer, const PathHints& hints,
                               const SearchLimits& limits);

 private:
  struct Need {
    ObjectNumber object = 0;
    std::uint64_t sent_bytes = 0;  // without a delta; 0: not known, it would be deflated anew
  };
  io::Result<std::uint64_t> look_at_needs(const ObjectSet& answer, const PathHints& hints,
                                          std::vector<Need>& needs) const;
  io::Result<void> search(const Need& need, const ObjectSet& answer, const PathHints& hints);
  // What `object` would stand on in the answer, nearest first; nullopt: itself, or too many.
  std::optional<std::vector<ObjectNumber>> chain_below(ObjectNumber object, ObjectNumber base,
                                                       const ObjectSet& answer) const;
  io::Result<ReencodeStore::Entry> delta_of(ObjectNumber object, ObjectNumber base);

  ObjectStore& store_;
  ReencodeStore& reencoded_;
  const ObjectSet* client_has_;
  std::uint64_t compared_bytes_ = 0;
  std::uint64_t compared_bytes_max_ = 0;
  FoundDeltas found_;
  std::unordered_map<ObjectNumber, unsigned> above_;  // the longest chain of found ones upon it
  DeltaEncoder encoder_;
  std::optional<Deflater> deflater_;
};

// The base in the answer that an object is going to be sent upon; nullopt: none, or an error in the
// file, which whoever sends the object reports.
std::optional<ObjectNumber> base_in_answer(const ObjectStore& store, const FoundDeltas& found,
                                           const ObjectSet& answer, ObjectNumber object);

}  // namespace weir::git
