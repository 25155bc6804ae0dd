#pragma once
// WorkerPool: a loop's long-lived `weir git-worker` children, which open repositories so that the
// server does not (libgit2 for configuration, peeling, single objects; `git cat-file --batch-check`
// and `git rev-list` where libgit2 cannot). One request at a time each, over a socket pair; bounded
// queue (kWorkerQueueMax); a request whose worker dies is tried once more on another, then fails
// with Errc::unavailable; overrun of the deadline kills the worker. Repositories stick to a worker
// (its caches stay warm). Loop thread only. Wire format: git/worker_protocol.h.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "git/loose_refs.h"
#include "git/object_id.h"
#include "git/repository.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/stop_token.h"
#include "io/subprocess.h"
#include "io/task.h"

namespace weir::git {

inline constexpr std::size_t kWorkerQueueMax = 256;

struct WorkerPoolOptions {
  std::string weir_path;  // absolute path of our own binary; run as `weir git-worker`
  std::string git_path;   // absolute path of git, passed on to the worker
  int workers = 1;
  std::uint64_t data_bytes_max = 1024UL * 1024 * 1024;  // RLIMIT_DATA of each
};

enum class WantVerdict : std::uint8_t { allowed, refused };

class WorkerPool {
 public:
  WorkerPool(io::EventLoop& loop, io::Spawner& launcher, WorkerPoolOptions options);
  ~WorkerPool();

  // `problem` receives a text for the user when the configuration is malformed.
  io::Task<io::Result<RepositoryConfig>> read_config(std::shared_ptr<const Repository> repository,
                                                     io::StopToken stop, io::Deadline deadline,
                                                     std::string& problem);
  // For each id: what it peels to, or a null id when it is no annotated tag (or is missing).
  io::Task<io::Result<std::vector<ObjectId>>> peel(std::shared_ptr<const Repository> repository,
                                                   ObjectFormat format, std::vector<ObjectId> ids,
                                                   io::StopToken stop, io::Deadline deadline);
  // Whether every one of `wants` is reachable from `tips` (visible refs): commits and tags by
  // walking, trees and blobs only if `allow_trees_and_blobs`. `refused` names the first that is
  // not. `tips_digest` names the set of tips for the worker's cache.
  io::Task<io::Result<WantVerdict>> check_wants(std::shared_ptr<const Repository> repository,
                                                ObjectFormat format, std::vector<ObjectId> wants,
                                                std::vector<ObjectId> tips, std::string tips_digest,
                                                bool allow_trees_and_blobs, ObjectId& refused,
                                                io::StopToken stop, io::Deadline deadline);
  // All refs as git itself lists them, for stores that are not files (reftable). `problem` receives
  // a text for the user when the configured git cannot read them.
  io::Task<io::Result<LooseRefs>> list_refs(std::shared_ptr<const Repository> repository,
                                            io::StopToken stop, io::Deadline deadline,
                                            std::string& problem);
  // Packs the repository's refs with git, as a background job of the launcher: at most one a pool
  // at a time; others are refused (false). `done` runs on the loop with git's success.
  bool pack_refs(std::shared_ptr<const Repository> repository,
                 std::move_only_function<void(bool)> done);

  // Ends the workers and waits for them.
  io::Task<void> close();
  std::size_t queued() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The child's main function: serves requests on descriptor 3 until it is closed.
int worker_main(const std::string& git_path);

}  // namespace weir::git
