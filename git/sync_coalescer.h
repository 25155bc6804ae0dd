#pragma once
// SyncCoalescer: makes pushes durable. One syncfs per file system at a time; everyone who asks
// while it runs shares the next one, so that many pushes cost few syncs and each waits for at most
// two. Shared by all loops; the sync itself runs on the BlockingPool. Bounded by the pushes in
// flight. A failed sync fails everybody who shared it. Used by tests/git/sync_coalescer_test.cc.

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "git/loop_waiter.h"
#include "io/blocking_pool.h"
#include "io/error.h"
#include "io/metrics.h"
#include "io/task.h"

namespace weir::git {

class SyncCoalescer {
 public:
  // Returns 0, or -1 with errno; called with a descriptor of a directory, on a pool thread.
  using Sync = std::function<int(int fd)>;

  explicit SyncCoalescer(io::BlockingPool& pool);
  SyncCoalescer(io::BlockingPool& pool, Sync sync);

  // Resumes when a syncfs of `directory`'s file system has returned that began after this call.
  io::Task<io::Result<void>> sync(std::string directory);

 private:
  struct Batch;
  struct Device {
    std::shared_ptr<Batch> waiting;  // begins when the running one has ended
  };
  io::Result<void> sync_blocking(int fd) const;

  io::BlockingPool& pool_;
  const Sync sync_;
  std::mutex mutex_;
  std::map<dev_t, Device> devices_;  // those with a sync running
  io::Counter syncs_;
  io::Counter failures_;
  io::Histogram duration_;
};

}  // namespace weir::git
