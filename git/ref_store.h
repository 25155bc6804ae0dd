#pragma once
// RefStore: the current RefSnapshot of each repository, validated for every request. One for the
// whole process; any loop thread. At most one validation and one rebuild run per repository; a
// caller shares only a validation that began at or after its own `since` (when its request head
// arrived), so a read that starts after a change sees it. Bounded: kRefStoreBytesMax of snapshots,
// least recently used repositories go first. Blocking file reads happen on the BlockingPool,
// peeling and configuration in a worker. Errors: not_found, corrupt (with text for logs),
// unavailable, limit, cancelled.

#include <cstdint>
#include <memory>
#include <string>

#include "git/ref_snapshot.h"
#include "git/repository.h"
#include "io/blocking_pool.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/stop_token.h"
#include "io/task.h"

namespace weir::git {

class WorkerPool;

inline constexpr std::size_t kRefStoreBytesMax = 512UL * 1024 * 1024;

enum class Validity : std::uint8_t {
  stat,        // others may write to the folder: files and directories are compared at each request
  generation,  // Weir is the sole writer: a snapshot holds until changed() is called
};

struct RefStoreOptions {
  Validity validity = Validity::stat;
  std::string state_directory;  // generations are persisted below it
  bool allow_filter = true;     // false: no partial clones, whatever a repository's config says
  std::size_t bytes_max = kRefStoreBytesMax;
};

class RefStore {
 public:
  RefStore(RefStoreOptions options, io::BlockingPool& pool);
  ~RefStore();
  RefStore(const RefStore&) = delete;
  RefStore& operator=(const RefStore&) = delete;

  // `workers`: the calling loop's pool. `problem` receives a text for the user when the repository
  // cannot be served as it is (reftable with too old a git, corrupt packed-refs, ...).
  io::Task<io::Result<std::shared_ptr<const RefSnapshot>>> snapshot(
      std::shared_ptr<const Repository> repository, io::Instant since, WorkerPool& workers,
      io::StopToken stop, io::Deadline deadline, std::string& problem);

  // Refs were or may have been changed through us. Called before the push is acknowledged: every
  // snapshot asked for afterwards is newer.
  void changed(const RepositoryId& repository);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::git
