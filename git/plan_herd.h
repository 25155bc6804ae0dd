#pragma once
// PlanHerd: one plan for all who ask for the same at the same time, and for those who come after
// (RecipeCache). Who comes first has the plan made; it goes on while anybody waits for it, also
// when that one has left, and is cancelled when the last leaves. A plan that fails is not shared:
// the next of those who wait has it made once more, then all get what came of it.
// Owned by the planner pool of the loop that owns the repositories; that loop's thread only.
// Bounded: kPlanWaitersMax a plan, beyond it Errc::limit; plans under way by the planner pool.
// Metrics: weir_recipe_cache_answers_total{result="coalesced|miss"}, weir_plan_waiters.

#include <functional>
#include <map>
#include <memory>

#include "git/plan_source.h"
#include "git/recipe_cache.h"
#include "io/task_scope.h"

namespace weir::git {

inline constexpr std::size_t kPlanWaitersMax = 4096;

class PlanHerd {
 public:
  // Has the plan made; called at most once, kept until its task has ended.
  using Planner =
      std::move_only_function<io::Task<io::Result<Planned>>(io::StopToken, io::Deadline)>;

  explicit PlanHerd(io::EventLoop& loop, std::size_t cache_bytes_max = kRecipeCacheBytesMax);

  // Errors: cancelled (only `stop`), deadline_exceeded (only `deadline`), limit.
  io::Task<io::Result<Planned>> plan(std::shared_ptr<const Repository> repository, PlanKeys keys,
                                     Planner planner, io::StopToken stop, io::Deadline deadline);
  RecipeCache& cache() { return cache_; }
  // Cancels the plans under way, waits for them and forgets everything; before the loop ends.
  io::Task<void> close();

 private:
  struct Waiter;
  struct Flight;
  io::Task<void> fly(std::shared_ptr<Flight> flight);

  RecipeCache cache_;
  std::map<io::Sha256Digest, std::shared_ptr<Flight>> flights_;  // those that may be joined
  io::Counter misses_, coalesced_, refused_;
  io::Gauge waiters_gauge_;
  io::TaskScope scope_;
};

}  // namespace weir::git
