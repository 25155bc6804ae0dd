#pragma once
// MaintenanceJob: `weir maintain` of one repository as a child of the launcher, in the sandbox of
// those that write to it. Loop thread; one at a time over all loops (MaintenanceSchedule). Bounded
// by kMaintenanceTimeMax; killed at its end and when the server drains, which loses nothing
// (git/maintenance.h). What it did is logged and counted: weir_maintenance_*.

#include <memory>
#include <string>

#include "git/repository.h"
#include "io/stop_token.h"
#include "io/subprocess.h"
#include "server/maintenance_schedule.h"

namespace weir::server {

inline constexpr io::Duration kMaintenanceTimeMax = std::chrono::hours(6);

struct MaintenanceJobOptions {
  std::string weir_path, git_path, root;
  MaintenanceSchedule* schedule = nullptr;  // outlives the loops; null: no jobs
};

// Makes its series known, so that they are there before the first job.
void count_maintenance();
// Ends by telling the schedule.
io::Task<void> run_maintenance(io::EventLoop& loop, io::Spawner& launcher,
                               const MaintenanceJobOptions& options,
                               std::shared_ptr<const git::Repository> repository,
                               io::StopToken stop);

}  // namespace weir::server
