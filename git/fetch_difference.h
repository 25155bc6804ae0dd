#pragma once
// FetchDifference: what a client that has some commits lacks of what it wants. Commits are painted
// from both sides, newest first, until nothing is left that only the wants reach; then the trees of
// the wanted commits are compared with those at the edge of what the client has. So the cost
// follows what is new, not what is there. As in git (list-objects.c mark_edges_uninteresting) the
// answer may hold objects the client has from further back, never less than it lacks. Dates out of
// order only make it larger. One thread; planner processes and tests only.

#include <span>
#include <vector>

#include "git/object_set.h"
#include "git/object_store.h"
#include "git/path_hints.h"
#include "git/reachability.h"
#include "io/error.h"

namespace weir::git {

struct Difference {
  ObjectSet lacking;     // what to send
  ObjectSet client_has;  // what the client has for certain, as far as it was looked at
  // Commits of the client that wanted ones stand upon; of a shallow client the newest of all.
  std::vector<ObjectNumber> edge;
  bool ready = false;  // each wanted commit reaches one of the client's: no need to ask for more
};

// `wants` and `haves`: canonical numbers of any type; the first `asked` of the wants decide about
// Difference::ready. `cut`: commits whose parents the client does
// not have (its shallow ones): there both sides end; empty for most. `hints`: null, or filled in
// for what is lacking. Errors: as Reachability.
io::Result<Difference> fetch_difference(ObjectStore& store, Reachability& reach,
                                        std::span<const ObjectNumber> wants, std::size_t asked,
                                        std::span<const ObjectNumber> haves, const ObjectSet& cut,
                                        const WalkLimits& limits, PathHints* hints = nullptr);

}  // namespace weir::git
