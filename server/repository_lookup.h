#pragma once
// Repository lookup: the file-system half of the locate stage. look_up_repository() blocks (pool
// threads only); still_there() may run on loop threads. Values; no state. What leaves the root is
// missing: names are opened with RESOLVE_BENEATH, and what a `.git` file, a `commondir`, or a
// linked `objects` or `refs` leads to must have its real path below the root's. Formats:
// gitrepository-layout(5), "gitfile" in gitglossary(7); Mercurial: a folder named .hg.

#include <cstdint>
#include <string>
#include <vector>

#include "io/error.h"
#include "server/locator.h"

namespace weir::server {

// Of a folder; another one under the same name differs in the inode or in the birth time. Where the
// file system knows no birth time it is 0, and only the inode tells.
struct FolderIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t birth_ns = 0;
  friend bool operator==(const FolderIdentity&, const FolderIdentity&) = default;
};

// What held on disk when the lookup was made, and must hold still for its answer to be used again.
struct LookupCheck {
  std::string path;
  bool absent = false;  // nothing had this name
  FolderIdentity identity{};
  std::int64_t changed_ns = 0;  // modification time, for a folder that was not a repository; else 0
};

struct Lookup {
  Location location;
  std::vector<LookupCheck> checks;  // 1..4; empty when the location is missing
};

// Names tried: "<path>", then the same without ".git" at its end, or with it. Errc::unavailable or
// Errc::system: the disk did not answer (never "missing").
io::Result<Lookup> look_up_repository(const std::string& root, const std::string& tenant,
                                      const std::string& path);
// A few statx calls: what was looked up seconds ago the kernel nearly always has in memory; where
// it has not, they wait for the disk.
bool still_there(const Lookup& lookup);

}  // namespace weir::server
