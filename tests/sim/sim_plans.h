#pragma once
// SimPlans: the planners of a simulated server: each plan comes late, not at all, says that git is
// to answer, or is a pack of the pattern, of as many "objects" as it has bytes. Owned by the run.

#include <string_view>

#include "git/plan_source.h"
#include "tests/sim/seeded_random.h"

namespace weir::sim {

class SimPlans final : public git::PlanSource {
 public:
  explicit SimPlans(io::SeededRandom random) : random_(random) {}

  io::Task<io::Result<git::Planned>> plan(std::shared_ptr<const git::Repository> repository,
                                          std::shared_ptr<const git::RefSnapshot> snapshot,
                                          git::PlanRequest request, io::StopToken stop,
                                          io::Deadline deadline) override;
  // Whether `pack` is one of theirs, whole.
  static bool made(std::string_view pack);

 private:
  io::SeededRandom random_;
};

}  // namespace weir::sim
