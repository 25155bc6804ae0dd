#pragma once
// Where a shallow answer ends: how far commits are from the wants, counted in steps to parents. As
// upload-pack.c's get_shallow_commits(): the wants are at 1, commits at `depth` are shallow whether
// they have parents or not, those nearer are not. One thread; planner processes and tests only.

#include <cstdint>
#include <span>
#include <vector>

#include "git/object_set.h"
#include "git/object_store.h"
#include "git/reachability.h"
#include "io/error.h"

namespace weir::git {

struct ShallowBoundary {
  std::vector<ObjectNumber> shallow;
  ObjectSet nearer;  // commits
};

// `wants`: canonical numbers of any type; tags are followed, trees and blobs passed over. `depth`
// is at least 1. Errors: as Reachability.
io::Result<ShallowBoundary> shallow_boundary(ObjectStore& store, Reachability& reach,
                                             std::span<const ObjectNumber> wants,
                                             std::uint32_t depth, const WalkLimits& limits);

}  // namespace weir::git
