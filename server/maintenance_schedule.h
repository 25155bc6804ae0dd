#pragma once
// MaintenanceSchedule: which repository the server maintains next, and when. Repositories are noted
// by pushes; one is taken when nobody has pushed to it for a while, or when that has not happened
// for long, one at a time over all loops. Thread-safe; no call blocks. Bounded: of more than
// kMaintenanceNotedMax repositories further ones are not noted until one was taken (they are by
// their next push).

#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "git/repository.h"
#include "io/clock.h"
#include "io/metrics.h"
#include "server/config.h"

namespace weir::server {

inline constexpr std::size_t kMaintenanceNotedMax = 4096;

class MaintenanceSchedule {
 public:
  explicit MaintenanceSchedule(const MaintenanceConfig& config);

  void pushed(std::shared_ptr<const git::Repository> repository, io::Instant now);
  // The one to maintain now, or null. The caller owes ended().
  std::shared_ptr<const git::Repository> next(io::Instant now);
  void ended(const git::Repository& repository, io::Instant now);

 private:
  struct Noted {
    std::shared_ptr<const git::Repository> repository;  // null: maintained, not pushed to since
    io::Instant first_push{}, last_push{};
    io::Instant not_before{};
  };

  const io::Duration quiet_;
  const io::Duration interval_;
  const bool enabled_;
  io::Gauge waiting_;
  std::mutex mutex_;
  std::unordered_map<git::RepositoryId, Noted, git::RepositoryIdHash> noted_;
  bool running_ = false;
};

}  // namespace weir::server
