#pragma once
// Locator: from tenant and path to a repository on disk below the root (the locate stage). The
// exact name wins over the same with ".git" added or taken off; a path inside a repository is never
// a repository; no symlink,
// `.git` file or commondir leaves the root (openat2 RESOLVE_BENEATH). Git or Mercurial is told by
// what is on disk. Blocking calls run on the BlockingPool, but for names that were found lately:
// their identity (device, inode, birth time) is checked again with a few statx calls, once for all
// requests whose heads had arrived before that check began. Cache: kLocatorEntriesMax, LRU, shared
// by loops.

#include <cstdint>
#include <memory>
#include <string>

#include "git/repository.h"
#include "io/blocking_pool.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/task.h"

namespace weir::server {

inline constexpr std::size_t kLocatorEntriesMax = 65'536;

enum class RepositoryKind : std::uint8_t { missing, git, mercurial };

struct Location {
  RepositoryKind kind = RepositoryKind::missing;
  std::shared_ptr<const git::Repository> repository;  // git only
};

class Locator {
 public:
  Locator(std::string root, io::BlockingPool& pool, const io::Clock& clock);
  ~Locator();
  // The answer held at some time after `since`, when the request's head had arrived.
  // Errc::unavailable: the root cannot be read (never answered as "missing").
  io::Task<io::Result<Location>> locate(std::string tenant, std::string path, io::Instant since);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::server
