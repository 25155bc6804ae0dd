#pragma once
// MaintenanceLock: one maintenance of a repository at a time, git's own gc among them. Two locks:
// gc.pid as git-gc(1) writes and reads it, and a flock of the folder of packs, which our children
// inherit, so that what a killed maintenance left running is known until its last process has
// ended. Blocking. A holder that is killed leaves gc.pid with a dead pid: the next holder, or git,
// takes it over.

#include <string>

#include "git/repository.h"
#include "io/unique_fd.h"

namespace weir::git {

class MaintenanceLock {
 public:
  // What stands against it, in words; "" if it is held now.
  std::string take(const Repository& repository);
  MaintenanceLock() = default;
  ~MaintenanceLock();
  MaintenanceLock(const MaintenanceLock&) = delete;
  MaintenanceLock& operator=(const MaintenanceLock&) = delete;

  // To be inherited by children; it closes on exec unless they clear that.
  int inherited_fd() const { return packs_.get(); }

 private:
  std::string gc_pid_;  // path; "" while not held
  io::UniqueFd packs_;
};

// Removes files in objects/pack that a writer left which no longer runs. The lock is held.
// Returns how many.
std::size_t remove_temporary_packs(const Repository& repository);

}  // namespace weir::git
