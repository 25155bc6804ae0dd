#pragma once
// PlannerPool: a loop's `weir git-planner` children and the open files of the repositories they
// plan for. A planner opens nothing by path: it is sent descriptors. Each repository belongs to one
// loop's pool (by its id; PlannerDirectory), so its files are opened and mapped once, whichever
// loop's connection asks; plan() may be called on any loop and hops there and back. Equal plans are
// made once (git/plan_herd.h). One plan at a time each; bounded queues (kPlansQueuedMax,
// kPlanCallsMax); a planner that dies costs one retry on a fresh one,
// then PlanStatus::fallback, and the repository rests for kDeadlyRest; overrun of the deadline
// kills it; each is replaced after plans_per_planner_max plans or when it has grown beyond its
// memory bound. What all replies that are in use or kept hold in memory is bounded, too
// (recipes_held_bytes_max; then git answers). Replies are decoded as hostile bytes: recipes may
// name only this repository's packs. Loop thread only. Wire format: git/planner_protocol.h.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "git/plan_source.h"
#include "git/recipe_cache.h"
#include "io/blocking_pool.h"
#include "io/subprocess.h"

namespace weir::git {

inline constexpr std::size_t kPlansQueuedMax = 1024;     // that wait for one planner
inline constexpr std::size_t kPlanCallsMax = 16 * 1024;  // with those that wait for the same plan
// Of a planner, whatever a request says.
inline constexpr io::Duration kPlanTimeMax = std::chrono::seconds(60);
// How long git answers for a repository that two planners in a row died of.
inline constexpr io::Duration kDeadlyRest = std::chrono::seconds(10);

struct PlannerPoolOptions {
  std::string weir_path;           // run as `weir git-planner`
  std::vector<std::string> roots;  // alternates must lie below one of them
  int planners = 1;
  std::uint64_t data_bytes_max = 512UL * 1024 * 1024;  // RLIMIT_DATA of each: not mapped files
  std::uint64_t plans_per_planner_max = 10'000;
  std::size_t recipe_cache_bytes_max = kRecipeCacheBytesMax;  // 0: only equal plans at once are one
  std::uint64_t recipes_held_bytes_max = 512UL * 1024 * 1024;  // by slow readers, too
  std::size_t open_files_max = 8192;                           // descriptors of this process
};

class PlannerPool;

// Which loop's pool owns a repository. Filled on one thread before the loops run, shared by them.
class PlannerDirectory {
 public:
  void add(PlannerPool& pool) { pools_.push_back(&pool); }
  PlannerPool& owner(const RepositoryId& id) const;

 private:
  std::vector<PlannerPool*> pools_;
};

class PlannerPool final : public PlanSource {
 public:
  // Adds itself to the directory. Pools outlive the turns of all loops that may ask them.
  PlannerPool(io::EventLoop& loop, io::Spawner& launcher, io::BlockingPool& blocking,
              PlannerDirectory& directory, PlannerPoolOptions options);
  ~PlannerPool() override;

  io::Task<io::Result<Planned>> plan(std::shared_ptr<const Repository> repository,
                                     std::shared_ptr<const RefSnapshot> snapshot,
                                     PlanRequest request, io::StopToken stop,
                                     io::Deadline deadline) override;
  // Now and then: lets go of what has not been used for long.
  void housekeeping();
  // Ends the planners and waits for them and for plans under way.
  io::Task<void> close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The child's main function: serves requests on descriptor 3 until it is closed.
int planner_main();

}  // namespace weir::git
