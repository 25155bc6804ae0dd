#pragma once
// LooseRefs: HEAD and the files below refs/, as read from disk, unresolved. Blocking: pool threads
// only. Per-worktree refs and HEAD come from git_dir, all others from common_dir. Bounded: file
// size, depth and count; symbolic links to directories are not followed. A malformed file is a
// broken ref, which hides a packed ref of the same name, as in git; unreadable directories are
// errors. Format: gitrepository-layout(5), git's files-backend.c.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "git/file_stamps.h"
#include "git/object_id.h"
#include "git/repository.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::size_t kLooseRefBytesMax = 8192 + 64;  // "ref: " and the longest name
inline constexpr std::size_t kLooseRefsMax = 2'000'000;      // files and directories together
inline constexpr int kLooseRefDepthMax = 256;

struct LooseRef {
  std::string name;
  ObjectId id;         // null: symbolic or broken
  std::string target;  // "" unless symbolic
  bool broken() const { return id.bytes == 0 && target.empty(); }
};

struct LooseRefs {
  LooseRef head;               // broken when HEAD is missing or malformed
  std::vector<LooseRef> refs;  // in byte order of names
  std::size_t broken = 0;      // malformed files and names that are no ref names
};

// What a loose ref file (or HEAD) says; broken if it is malformed.
LooseRef parse_loose_ref(std::string_view name, std::string_view content, ObjectFormat format);

// `stamps` gains every directory and file, each as it was just before it was read. Directories
// alone do not do: git renames a lock file into place, which changes the directory, but a foreign
// tool that writes a ref file in place changes only the file. The count falls when the store packs
// the refs.
io::Result<LooseRefs> read_loose_refs_blocking(const Repository& repository, ObjectFormat format,
                                               FileStamps& stamps);

}  // namespace weir::git
