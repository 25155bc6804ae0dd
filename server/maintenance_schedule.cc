#include "server/maintenance_schedule.h"

#include <algorithm>
#include <utility>

namespace weir::server {

MaintenanceSchedule::MaintenanceSchedule(const MaintenanceConfig& config)
    : quiet_(std::chrono::seconds(config.quiet_s)),
      interval_(std::chrono::seconds(config.interval_s)),
      enabled_(config.enabled),
      waiting_(io::Metrics::instance().gauge(
          "weir_maintenance_waiting", "", "Repositories pushed to since they were maintained.")) {}

void MaintenanceSchedule::pushed(std::shared_ptr<const git::Repository> repository,
                                 io::Instant now) {
  if (!enabled_) return;
  const std::lock_guard lock(mutex_);
  const auto found = noted_.find(repository->id);
  if (found == noted_.end() && noted_.size() >= kMaintenanceNotedMax) return;
  Noted& noted = found != noted_.end() ? found->second : noted_[repository->id];
  if (noted.repository == nullptr) {
    noted.first_push = now;
    waiting_.add(1);
  }
  noted.repository = std::move(repository);
  noted.last_push = now;
}

std::shared_ptr<const git::Repository> MaintenanceSchedule::next(io::Instant now) {
  const std::lock_guard lock(mutex_);
  if (running_) return nullptr;
  std::erase_if(noted_, [now](const auto& entry) {
    return entry.second.repository == nullptr && entry.second.not_before <= now;
  });
  Noted* chosen = nullptr;
  for (auto& [id, noted] : noted_) {
    if (noted.repository == nullptr || now < noted.not_before) continue;
    if (now < std::min(noted.last_push + quiet_, noted.first_push + interval_)) continue;
    if (chosen == nullptr || noted.first_push < chosen->first_push) chosen = &noted;
  }
  if (chosen == nullptr) return nullptr;
  running_ = true;
  waiting_.add(-1);
  chosen->not_before = now + interval_;
  return std::exchange(chosen->repository, nullptr);
}

void MaintenanceSchedule::ended(const git::Repository& repository, io::Instant now) {
  const std::lock_guard lock(mutex_);
  running_ = false;
  noted_[repository.id].not_before = now + interval_;
}

}  // namespace weir::server
