#pragma once
// RepositoryFiles: the object files of a repository (packs, indexes, bitmaps, commit-graphs, loose
// objects, those of its alternates too) as they stood at one moment, all open. Opened on a blocking
// thread by the serving process, which looks into none of them; planners get the descriptors and
// map them; loops read the extents of recipes from them. Git never changes such a file, it only
// adds and deletes them, so a set that is old is not wrong: objects may be missing from it (then
// look again), and packs may be kept on disk by it though deleted. Immutable; shared; any thread.
// Bounded by kRepositoryFilesMax and by LooseBundle's bounds. Layout: gitrepository-layout(5).

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "git/file_stamps.h"
#include "git/object_id.h"
#include "git/repository.h"
#include "git/repository_file.h"
#include "io/error.h"
#include "io/unique_fd.h"

namespace weir::git {

inline constexpr std::size_t kRepositoryFilesMax = 512;  // ~120 packs with all that belongs to them
inline constexpr unsigned kAlternatesMax = 8;            // git follows five levels deep

class RepositoryFiles {
 public:
  // `previous`: of the same repository; files that are still the same keep their descriptors.
  // Errc::limit: more files or loose objects than the bounds (git can serve it; maintenance would
  // help). Errc::invalid: a repository whose objects are not all there by design (shallow,
  // promisor, grafts); Error::where is the text. Alternates outside `roots` are Errc::denied.
  static io::Result<std::shared_ptr<const RepositoryFiles>> open(
      const Repository& repository, ObjectFormat format,
      std::shared_ptr<const RepositoryFiles> previous, std::span<const std::string> roots);

  // Their indexes are what recipes use. Packs come before what belongs to them.
  std::span<const RepositoryFile> files() const { return files_; }
  int fd(std::size_t file) const { return fds_[file]->get(); }
  std::span<const std::uint64_t> sizes() const { return sizes_; }
  // Different for every set ever opened by this process, but for those that hold the same files.
  std::uint64_t number() const { return number_; }
  // Whether the folders still look as they did (stat only; blocking thread).
  bool still_current() const;

 private:
  friend class RepositoryFilesReader;
  // An object of the loose bundle: where its bytes are in it.
  struct LooseEntry {
    ObjectId id;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };

  std::vector<RepositoryFile> files_;
  std::vector<std::shared_ptr<const io::UniqueFd>> fds_;  // shared with the set before
  std::vector<std::uint64_t> sizes_;
  std::vector<FileStamp> file_stamps_;  // one a file; null of the loose bundle
  std::vector<LooseEntry> loose_;       // sorted by id
  FileStamps stamps_;                   // of the folders, and of files that are not renamed in
  std::uint64_t number_ = 0;
};

}  // namespace weir::git
