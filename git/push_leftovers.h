#pragma once
// Removes what a dead push left in a repository: the lock files git would otherwise fail on for
// ever, the mark that keeps its pack from being repacked, and its quarantine folder. Nothing is
// removed that a live process could own: a file must have been made while the dead child lived and
// before any process started that works in the repository now; of our own live pushes it is known
// which refs they lock. Blocking: called on a pool thread or at start. Formats:
// gitrepository-layout(5); lock files are "<file>.lock" beside what they lock; quarantine folders
// are objects/tmp_objdir-incoming-*; marks are *.keep, with the pid of the receive-pack.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "git/push_record.h"

namespace weir::git {

struct RepositoryProcess {
  pid_t pid = 0;
  pid_t group = 0;
  std::int64_t started_unix_ns = 0;
};

// Processes whose working directory is in the repository, and git processes that name it; those
// whose working directory cannot be seen count when they are git. Without ourselves and `except`.
std::vector<RepositoryProcess> processes_in_repository(const std::string& git_dir,
                                                       const std::string& common_dir, pid_t except);

struct Leftovers {
  std::size_t locks = 0;        // and marks: removed
  std::size_t quarantines = 0;  // removed
  // Found, but a live process may own them, or the disk did not let us look or remove: try again.
  std::size_t kept = 0;
};

// `except`: a child of ours that has not been told to do anything yet. `live`: the records of
// pushes that run in the same repository.
Leftovers remove_leftovers(const PushRecord& record, pid_t except,
                           const std::vector<PushRecord>& live);

// Ends what is left of a dead child's process group (its index-pack, its hooks), so that the
// repository comes to rest. Only for a child that was killed or failed, right after its end.
void end_orphans(const PushRecord& record);

}  // namespace weir::git
