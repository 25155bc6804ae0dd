#pragma once
// RepositoryLayout: how a repository lies on disk, as far as names, sizes and times of its files
// tell; nothing is opened but our own note of the core pack, HEAD and alternates. A value, read by
// blocking calls on any thread. A look beside git's own work may see half of it: files that vanish
// are not counted. Bounded by kLooseObjectsCountedMax and by what objects/pack holds. Formats:
// gitrepository-layout(5), gitformat-pack(5).
//
// The core pack is the one that our last full repack made, laid out for clones. Which one it is
// stands in objects/info/weir-core: its name, and the branch it was laid out for. The note is
// disposable: without it the next maintenance makes a core pack anew.

#include <cstdint>
#include <string>
#include <vector>

#include "git/repository.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::uint64_t kLooseObjectsCountedMax = 100'000;

enum class BitmapKind : std::uint8_t { none, pack, multi_pack };

struct RepositoryLayout {
  // Packs that hold what refs reach; without cruft packs.
  std::uint64_t packs = 0;
  std::uint64_t pack_bytes = 0;  // with their indexes
  std::uint64_t packed_objects = 0;
  std::uint64_t kept_packs = 0;  // of these: never repacked, or part of a push under way
  std::uint64_t loose_objects = 0;

  bool core_present = false;
  std::uint64_t core_objects = 0;
  std::int64_t core_age_s = 0;
  bool core_branch_is_head = false;

  std::uint64_t cruft_objects = 0;
  std::uint64_t cruft_bytes = 0;
  std::int64_t cruft_age_s = 0;  // of the oldest cruft pack

  BitmapKind bitmap = BitmapKind::none;
  std::int64_t bitmap_age_s = 0;
  std::uint64_t bitmapped_objects = 0;  // in packs that the bitmap knows
  std::uint64_t recent_packs = 0;       // that it does not know; all, if there is none
  bool multi_pack_index = false;
  bool commit_graph = false;
  bool commit_graph_behind = false;  // packs have come since

  std::uint64_t loose_refs = 0;
  std::uint64_t packed_refs_bytes = 0;

  bool borrows = false;  // objects/info/alternates
  bool shallow = false;
  bool partial = false;      // a partial clone: what it lacks is somewhere else
  bool server_info = false;  // objects/info/packs, for clients without a git server

  std::string head_branch;                   // "refs/heads/main"; "" if HEAD names none
  std::string largest_pack;                  // "pack-<hash>", with the most objects
  std::vector<std::string> temporary_files;  // in objects/pack, of writers that may have died

  std::uint64_t objects() const { return packed_objects + loose_objects; }
};

// Errors: the folder of objects cannot be read.
io::Result<RepositoryLayout> read_repository_layout(const Repository& repository,
                                                    std::int64_t now_unix_s);
// Notes that `pack` is the core, laid out for `branch`.
io::Result<void> write_core_note(const Repository& repository, const std::string& pack,
                                 const std::string& branch);
// Absolute folders of objects that it borrows from.
std::vector<std::string> borrowed_folders(const std::string& common_dir);

}  // namespace weir::git
