#pragma once
// PushJournal: a file for each push that runs, in the state folder, so that the locks and
// quarantine of a push that died (child, server or machine) are removed without a human. Shared by
// all loops; every call blocks on files: made on the BlockingPool, or at start. Bounded by the
// pushes that run plus the dead ones whose leftovers a live process may still own; these are tried
// again when a push in the same repository begins or ends, and by sweep(). Used by
// tests/git/push_journal_test.cc.

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "git/push_leftovers.h"
#include "git/push_record.h"
#include "io/error.h"
#include "io/metrics.h"

namespace weir::git {

class PushJournal {
 public:
  // `directory` is made (0700) if it is not there.
  explicit PushJournal(std::string directory);

  // Writes the record down, durably, before the child is told anything; the name is for the calls
  // below. Also clears what dead pushes left in the same repository.
  io::Result<std::string> begin(PushRecord record);
  // The child has ended by itself, and what it did is synced.
  void end(const std::string& name);
  // The same, but it refused refs, maybe because the disk fails: then it could not remove its locks
  // either. What is left is removed.
  void end_refusing(const std::string& name);
  // The child was killed or failed: its leftovers are removed.
  void child_died(const std::string& name);
  // The child has ended, however, but neither of these could be called: sweep() sees to it. Does
  // not block.
  void leave_to_sweep(const std::string& name);

  struct Swept {
    std::size_t records = 0;  // settled: their leftovers are gone
    Leftovers leftovers;
    std::size_t running = 0;  // children of an earlier server process that are still finishing
  };
  // Reads the records of earlier processes; before the first begin(). Waits for no disk to sync.
  void adopt();
  // Looks at the folder again, for what a server that drained beside us left when it was killed,
  // and settles what could not be settled before. Cheap when there is nothing; call it now and
  // then.
  Swept sweep();

 private:
  enum class State : std::uint8_t { ours, adopted, dead };
  struct Entry {
    PushRecord record;
    State state = State::ours;
  };
  void remove_record(const std::string& name);
  void settle_as_dead(const std::string& name, const std::string& common_dir);
  // Those of `common_dir`, or all when it is empty.
  Swept settle_dead(const std::string& common_dir, pid_t except);

  const std::string directory_;
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
  std::uint64_t last_number_ = 0;
  io::Counter locks_removed_;
  io::Counter quarantines_removed_;
  io::Counter postponed_;
};

}  // namespace weir::git
