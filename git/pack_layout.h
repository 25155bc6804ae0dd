#pragma once
// PackLayout: how each object of an answer is sent, and the recipe that says so. In the order of
// numbers, which is the order of the packs on disk:
//  - as stored, when it is whole or a delta of something in the answer; the reference to its base
//    is written anew where the distance changed or the client takes no distances;
//  - as a delta of something the client has (a thin pack);
//  - as a delta that was searched for (DeltaSearch), if it would have to be sent whole else;
//  - as stored, with a blob the client did not ask for but may see as its base, while such extra
//    bytes stay below a share of the answer. Never trees or commits: clients check that what they
//    got is closed;
//  - else inflated and deflated anew, which is kept for the next answer (ReencodeStore).
// A pack that is the answer exactly is sent as it is, unread, its trailer known. Every delta's base
// comes earlier in the answer (out of the order of numbers where a searched delta wants that), or
// is in the same pack of ours, or is proved to be the client's. One thread; planner processes and
// tests only. Format: gitformat-pack(5).

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "git/delta_search.h"
#include "git/object_codec.h"
#include "git/object_set.h"
#include "git/object_store.h"
#include "git/path_hints.h"
#include "git/recipe.h"
#include "git/reencode_store.h"
#include "io/error.h"

namespace weir::git {

// Of one answer; more is git's business.
inline constexpr std::uint64_t kLayoutLiteralBytesMax = 192UL * 1024 * 1024;

struct LayoutOptions {
  bool ofs_delta = false;
  // What the client has for certain, for bases of a thin pack; null: none.
  const ObjectSet* client_has = nullptr;
  // What may be sent beyond the answer as a base: asked once, when a base is wanting. Null, or a
  // null set: nothing.
  std::function<io::Result<const ObjectSet*>()> visible;
  unsigned extra_percent_max = 12;             // of the answer's bytes
  std::uint64_t extra_bytes_free = 64 * 1024;  // and so many in any case
  std::function<bool()> expired;               // asked before dear steps; null: never
  const PathHints* hints = nullptr;            // null: no deltas are searched
  SearchLimits search;
};

class PackLayout {
 public:
  PackLayout(ObjectStore& store, ReencodeStore& reencoded, LayoutOptions options)
      : store_(store), reencoded_(reencoded), options_(std::move(options)), deflater_(1) {}

  // `objects`: canonical numbers. Errors: limit (too much to deflate), corrupt.
  io::Result<Recipe> make(ObjectSet objects);

 private:
  // A stretch of the answer that lies in one pack as it lies here.
  struct Run {
    ObjectNumber first = 0;  // the numbers first..last
    ObjectNumber last = 0;
    std::uint64_t offset = 0;  // of `first` in the answer
    bool as_stored = false;    // `first` is as stored: what follows it in the pack may join
  };
  const ObjectStore::StoredPack* whole_pack(const ObjectSet& objects) const;
  Recipe send_whole(const ObjectStore::StoredPack& stored) const;
  // Whether a delta names its base by a distance, which not every client reads.
  io::Result<bool> has_distances(const Pack& pack) const;
  io::Result<void> add_bases(ObjectSet& objects);
  io::Result<void> add_base(ObjectSet& objects, const ObjectSet& visible, ObjectNumber delta);
  bool stands_on_found(const ObjectSet& objects, ObjectNumber object) const;
  io::Result<void> place_with_bases(RecipeBuilder& builder, const ObjectSet& objects,
                                    ObjectNumber number);
  io::Result<void> place(RecipeBuilder& builder, const ObjectSet& objects, ObjectNumber number);
  io::Result<void> place_found(RecipeBuilder& builder, ObjectNumber number,
                               const FoundDelta& delta);
  io::Result<void> place_delta(RecipeBuilder& builder, const ObjectSet& objects,
                               ObjectNumber number, const ObjectStore::Place& at,
                               ObjectNumber base);
  io::Result<void> place_anew(RecipeBuilder& builder, ObjectNumber number);
  io::Result<void> look_at_clock() const;
  io::Result<void> add_literal(RecipeBuilder& builder, const std::string& bytes);
  void append_reference(std::string& header, ObjectNumber base, std::uint64_t here,
                        std::optional<std::uint64_t> base_offset) const;
  void place_as_stored(RecipeBuilder& builder, ObjectNumber number, const ObjectStore::Place& at);
  void note(ObjectNumber number, std::uint64_t offset, bool as_stored);
  // Where in the answer a number placed already begins.
  std::optional<std::uint64_t> offset_of(ObjectNumber number) const;

  ObjectStore& store_;
  ReencodeStore& reencoded_;
  LayoutOptions options_;
  Deflater deflater_;
  FoundDeltas found_;
  ObjectNumber turn_ = 0;  // whose turn it is in the order of numbers
  std::vector<Run> runs_;  // ascending
  std::unordered_map<ObjectNumber, std::uint64_t>
      early_;  // offsets of those placed before their turn
  RecipeCounts counts_;
  std::uint64_t answer_bytes_ = 0;
  std::uint64_t extra_bytes_ = 0;
  std::uint64_t literal_bytes_ = 0;
};

}  // namespace weir::git
