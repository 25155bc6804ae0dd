#pragma once
// Reachability: what objects reach which, by bitmaps where there are some, by the commit-graph
// where it knows a commit, by the objects themselves otherwise. Commits first, trees afterwards, so
// that a bitmap met on the way saves the trees behind it. Bounded by WalkLimits. One thread;
// planner processes and tests only. Source of the method: git's pack-bitmap.c (find_objects).

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "git/commit_graph.h"
#include "git/object_id.h"
#include "git/object_set.h"
#include "git/object_store.h"
#include "git/path_hints.h"
#include "git/stored_bitmaps.h"
#include "io/clock.h"
#include "io/error.h"

namespace weir::git {

struct WalkLimits {
  unsigned trees_max = 20'000'000;  // read
  std::function<bool()> expired;    // asked now and then: the plan's time is over

  // Looks at the clock every 256th step.
  bool over(unsigned& steps) const { return ++steps % 256 == 0 && expired && expired(); }
};

inline constexpr unsigned kTagsPeeledMax = 1024;  // one upon the other; git has patience for more

// What a walk may fail with: not_found (an object that is referred to is not in the store;
// missing() names it), limit (WalkLimits), corrupt.
class Reachability {
 public:
  static io::Result<std::unique_ptr<Reachability>> open(
      const std::vector<MappedRepositoryFile>& files, ObjectStore& store);

  // WalkLimits::trees_max counts from here on.
  void begin_plan() { trees_read_ = 0; }
  // All that `tips` reach, themselves included.
  io::Result<ObjectSet> closure(std::span<const ObjectNumber> tips, const WalkLimits& limits);
  // `closed` grows by all that `tips` reach. `met`: the commits of it that the walk ended at.
  io::Result<void> extend(ObjectSet& closed, std::span<const ObjectNumber> tips, ObjectSet& met,
                          const WalkLimits& limits);
  // The trees of these commits with all they hold, added to `into`; parents are not followed.
  // `hints`, if any, are told what was new, and where.
  io::Result<void> add_snapshots(std::span<const ObjectNumber> commits, ObjectSet& into,
                                 const WalkLimits& limits, PathHints* hints = nullptr);
  // What a tag points at in the end, through all tags between, which are handed to `on_tag`; any
  // other object is itself.
  io::Result<ObjectNumber> peel(ObjectNumber number,
                                const std::function<void(ObjectNumber)>& on_tag = {});
  struct Commit {
    ObjectId tree;
    std::vector<ObjectId> parents;
    std::uint64_t date_s = 0;
  };
  io::Result<void> read_commit(ObjectNumber number, Commit& commit);
  io::Result<ObjectNumber> number_of(const ObjectId& id);
  const ObjectId& missing() const { return missing_; }
  // Whether some commits' sets need no walk.
  bool has_bitmap() const { return !bitmaps_.empty(); }

 private:
  Reachability(const std::vector<MappedRepositoryFile>& files, ObjectStore& store)
      : store_(store), bitmaps_(files, store) {}
  io::Result<void> walk_commits(std::vector<ObjectNumber> pending, ObjectSet& into,
                                std::vector<ObjectNumber>& fresh, ObjectSet& met,
                                const WalkLimits& limits);
  io::Result<void> add_tree(ObjectNumber tree, ObjectSet& into, const WalkLimits& limits,
                            PathHints* hints);

  ObjectStore& store_;
  StoredBitmaps bitmaps_;
  std::vector<CommitGraph> graphs_;  // of each store that has one
  CommitGraph::Commit graph_commit_;
  ObjectId missing_;
  unsigned trees_read_ = 0;
};

}  // namespace weir::git
