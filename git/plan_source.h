#pragma once
// PlanSource: where a fetch gets its plan from: the planner pool of a loop, or what stands for it
// in tests. Loop thread only.

#include <memory>

#include "git/fetch_plan.h"
#include "git/ref_snapshot.h"
#include "git/repository.h"
#include "git/repository_files.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/stop_token.h"
#include "io/task.h"

namespace weir::git {

// What an answer is made from. `files` holds the descriptors open while the answer is sent.
struct Planned {
  std::shared_ptr<const PlanReply> reply;
  std::shared_ptr<const RepositoryFiles> files;
};

class PlanSource {
 public:
  virtual ~PlanSource() = default;
  // `snapshot`: says what may be seen. Errors: cancelled (only `stop`), deadline_exceeded, limit;
  // all else is a status of the reply.
  virtual io::Task<io::Result<Planned>> plan(std::shared_ptr<const Repository> repository,
                                             std::shared_ptr<const RefSnapshot> snapshot,
                                             PlanRequest request, io::StopToken stop,
                                             io::Deadline deadline) = 0;
};

}  // namespace weir::git
