#pragma once
// Maintenance of one repository by real git: what is due by plan_maintenance(), one step after the
// other, each a child of the calling process at idle priority. Blocking: minutes to hours; never on
// a thread of the server. Safe beside fetches and pushes, as git's repack is; killed at any moment
// it leaves what git or the next maintenance removes. Failure: the step that failed is told with
// what git said; later steps are left out.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "git/maintenance_plan.h"
#include "git/repository.h"

namespace weir::git {

struct MaintenanceOptions {
  std::string git_path = "/usr/bin/git";
  MaintenanceThresholds thresholds;
  bool dry_run = false;
  // git replaces packs by a rename and deletions without a sync of the folder between. Without
  // this, that is not done where a power cut could keep the deletions alone.
  bool on_any_file_system = false;
  // Whether another repository borrows objects from a folder of objects: then nothing of it is
  // deleted. Asked before a step that deletes; unset: nobody borrows.
  std::function<bool(const std::string&)> borrowed_from;
};

struct StepResult {
  MaintenanceStep step;
  std::string problem;  // "" if it was done
  std::uint64_t bytes_before = 0, bytes_after = 0;
  std::int64_t milliseconds = 0;
};

struct MaintenanceReport {
  RepositoryLayout before, after;
  MaintenancePlan plan;
  std::string skipped;  // why nothing was done though something was due
  std::size_t temporary_files_removed = 0;
  std::vector<StepResult> results;
  bool failed() const { return !results.empty() && !results.back().problem.empty(); }
};

io::Result<MaintenanceReport> maintain(const Repository& repository,
                                       const MaintenanceOptions& options);
// Of a file system's magic number (statfs(2)): whether after a power cut no name is there that came
// after one that is not.
bool keeps_order_of_names(std::uint64_t magic);
// Lowers the calling process to the idle class of processor and disk, with all that it starts.
void become_idle();

}  // namespace weir::git
