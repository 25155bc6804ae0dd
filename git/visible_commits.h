#pragma once
// VisibleCommits: which commits a reader may see, found out no further back than was asked. What a
// client says it has counts only if it may see it: else it could learn of hidden history by what is
// sent as a difference to it. The walk goes from the visible tips, newest first, and is kept: the
// next question goes on where it stopped. One thread; planner processes and tests only.

#include <cstdint>
#include <queue>
#include <span>
#include <utility>
#include <vector>

#include "git/object_set.h"
#include "git/object_store.h"
#include "git/reachability.h"
#include "io/error.h"

namespace weir::git {

class VisibleCommits {
 public:
  // `tips`: canonical numbers of any type; tags are followed, trees and blobs passed over.
  static io::Result<VisibleCommits> start(ObjectStore& store, Reachability& reach,
                                          std::span<const ObjectNumber> tips,
                                          const WalkLimits& limits);
  // Walks until everything as new as `date_s` is known. Commits dated before their descendants'
  // parents may stay unknown: they then do not count as seen.
  io::Result<void> know_back_to(std::uint64_t date_s, const WalkLimits& limits);
  bool contains(ObjectNumber commit) const { return seen_.contains(commit); }

 private:
  VisibleCommits(ObjectStore& store, Reachability& reach)
      : reach_(&reach), seen_(store.empty_set()) {}

  Reachability* reach_;
  ObjectSet seen_;
  std::priority_queue<std::pair<std::uint64_t, ObjectNumber>> queue_;
};

}  // namespace weir::git
