#pragma once
// FileStamps: what the files and directories that a snapshot was read from looked like just before
// they were read. Equal stamps now mean equal content, with one exception that racy() tells: kernel
// time is as coarse as a clock tick, so a change that follows the read within a tick leaves the
// stamp as it was. Anything changed within kRacyWindow before the reading began is therefore not
// trusted and must be read again. A value; filled on a pool thread, compared on any.

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/clock.h"

namespace weir::git {

// Two ticks of the slowest kernel (HZ=100).
inline constexpr io::Duration kRacyWindow = std::chrono::milliseconds(20);
// For times without a fraction: a file system that keeps whole (or even) seconds.
inline constexpr io::Duration kCoarseRacyWindow = std::chrono::seconds(2);

struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;  // 0: there is no such file
  std::int64_t bytes = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;

  static FileStamp of(const struct stat& status);
  // Of what is there now; a missing file has the null stamp. `follow`: through symbolic links.
  static FileStamp of_path(const char* path, bool follow);
  // True if a change right after `unix_ns` could leave the same stamp; after now.
  bool is_racy_at(std::int64_t unix_ns) const;
  bool is_racy_now() const;
};

class FileStamps {
 public:
  FileStamps() = default;  // trusts nothing
  // `began_unix_ns`: before the first file is looked at.
  explicit FileStamps(std::int64_t began_unix_ns) : began_unix_ns_(began_unix_ns) {}
  void add(std::string path, const FileStamp& stamp, bool follow = false);
  // Stats everything again, about a microsecond each while dentries are hot.
  bool unchanged() const;
  // For loops: false also if the disk had to be waited for and time is up.
  bool unchanged_by(const io::Clock& clock, io::Instant end) const;
  bool racy() const { return racy_; }
  std::size_t size() const { return items_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Item {
    std::string path;
    FileStamp stamp;
    bool follow;
    bool unchanged() const { return FileStamp::of_path(path.c_str(), follow) == stamp; }
  };
  std::int64_t began_unix_ns_ = 0;
  std::vector<Item> items_;
  std::size_t bytes_ = 0;
  bool racy_ = false;
};

}  // namespace weir::git
