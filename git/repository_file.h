#pragma once
// RepositoryFile: one file of a repository's object store as the serving process and its planners
// both know it: by its place in one list. The serving process has it open (git/repository_files.h);
// a planner maps it. Plain values.

#include <cstdint>
#include <string>

namespace weir::git {

enum class FileRole : std::uint8_t {
  pack,
  pack_index,
  pack_reverse_index,
  pack_bitmap,
  multi_pack_index,
  multi_pack_reverse_index,
  multi_pack_bitmap,
  commit_graph,   // the single file, or one of a chain: `order` says which
  loose_objects,  // not a file of the repository: its loose objects, read into one (LooseBundle)
};

struct RepositoryFile {
  FileRole role = FileRole::pack;
  std::uint8_t store = 0;   // 0: the repository's own objects; 1..: its alternates, in git's order
  std::uint16_t order = 0;  // of a commit-graph chain: 0 is its base
  std::string name;         // of pack files "pack-<hash>", without the suffix; else ""
  std::uint64_t bytes = 0;
};

}  // namespace weir::git
