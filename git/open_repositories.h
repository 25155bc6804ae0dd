#pragma once
// OpenRepositories: the object files of the repositories a pool plans for, kept open between plans.
// Looked at again in the background, at most once in kLookEvery and only when used; an old set goes
// on being used meanwhile. One open or look a repository at a time, on the blocking pool; failures
// are remembered as long. Bounded by kOpenRepositoriesMax, kOpenFilesMax and kOpenLooseBytesMax;
// least recently used leave, and those unused for kOpenUnusedMax, because an open file keeps its
// disk space though git deleted it. Loop thread only; the blocking pool outlives it.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "git/ref_snapshot.h"
#include "git/repository.h"
#include "git/repository_files.h"
#include "io/async_semaphore.h"
#include "io/blocking_pool.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/stop_token.h"
#include "io/task.h"
#include "io/task_scope.h"

namespace weir::git {

inline constexpr std::size_t kOpenRepositoriesMax = 64;
inline constexpr std::size_t kOpenFilesMax = 8192;
inline constexpr std::uint64_t kOpenLooseBytesMax = 256UL * 1024 * 1024;
inline constexpr io::Duration kLookEvery = std::chrono::seconds(1);
inline constexpr io::Duration kOpenUnusedMax = std::chrono::minutes(2);

class OpenRepositories {
 public:
  using Files = std::shared_ptr<const RepositoryFiles>;
  // A repository, open or not. Kept by those who use it though it has left.
  struct Entry {
    std::shared_ptr<const Repository> repository;
    ObjectFormat format = ObjectFormat::sha1;
    Files files;                       // null: not open
    std::optional<io::Error> failure;  // of the last look
    std::optional<io::Instant> looked_at;
    io::Instant used_at;
    io::AsyncSemaphore look;      // held while somebody looks
    io::AsyncSemaphore learning;  // held while somebody makes the digest
    // The digest of what a snapshot shows (VisibleTips), of the last one used.
    std::weak_ptr<const RefSnapshot> digest_of;
    std::string digest;
    io::Instant deadly_until;  // planners died of it: none is asked before

    Entry(std::shared_ptr<const Repository> its_repository, ObjectFormat its_format);
  };

  // Is called with each set that is not used for new plans any more, and with the one that is.
  using Changed =
      std::function<void(const RepositoryId&, const RepositoryFiles& old, const RepositoryFiles*)>;
  OpenRepositories(io::EventLoop& loop, io::BlockingPool& blocking, std::vector<std::string> roots,
                   Changed changed);

  std::shared_ptr<Entry> find(const std::shared_ptr<const Repository>& repository,
                              ObjectFormat format);
  // In the background.
  void look_if_due(const std::shared_ptr<Entry>& entry);
  // Opens them if need be. Errors: cancelled, deadline_exceeded, and those of opening.
  io::Task<io::Result<Files>> files_of(std::shared_ptr<Entry> entry, io::StopToken stop,
                                       io::Deadline deadline);
  // A look that begins now or later; null: nothing has changed since `old`.
  io::Task<io::Result<Files>> newer_than(Files old, std::shared_ptr<Entry> entry,
                                         io::StopToken stop, io::Deadline deadline);
  // Descriptors that all of them may have together, if fewer than kOpenFilesMax.
  void set_files_max(std::size_t files_max) { files_max_ = std::min(files_max, kOpenFilesMax); }
  // Lets go of what has not been used for long.
  void housekeeping();
  // Lets go of everything; waits for looks under way.
  io::Task<void> close();

 private:
  bool looked_lately(const Entry& entry) const;
  void start_look(const std::shared_ptr<Entry>& entry);
  io::Task<void> run_look(std::shared_ptr<Entry> entry, io::AsyncSemaphore::Units turn);
  void set_files(Entry& entry, Files files);
  void evict_beyond_bounds();
  void evict_last();

  using List = std::list<std::shared_ptr<Entry>>;
  io::EventLoop& loop_;
  io::BlockingPool& blocking_;
  const std::shared_ptr<const std::vector<std::string>> roots_;
  const Changed changed_;
  List entries_;  // most recently used first
  std::unordered_map<RepositoryId, List::iterator, RepositoryIdHash> by_id_;
  std::size_t files_max_ = kOpenFilesMax;
  bool closing_ = false;
  io::TaskScope looks_;
};

}  // namespace weir::git
