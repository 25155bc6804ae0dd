#include "git/file_stamps.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace weir::git {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;

std::int64_t to_ns(const timespec& time) {
  return time.tv_sec * kSecondNs + time.tv_nsec;
}

}  // namespace

FileStamp FileStamp::of(const struct stat& status) {
  return {status.st_dev, status.st_ino, status.st_size, to_ns(status.st_mtim),
          to_ns(status.st_ctim)};
}

FileStamp FileStamp::of_path(const char* path, bool follow) {
  struct stat status;
  if (fstatat(AT_FDCWD, path, &status, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0) return of(status);
  // What cannot be looked at differs from everything, so that reading it says why.
  return errno == ENOENT || errno == ENOTDIR ? FileStamp{} : FileStamp{.bytes = -errno};
}

bool FileStamp::is_racy_at(std::int64_t unix_ns) const {
  if (inode == 0) return false;  // its appearance changes the stamp whenever it comes
  // The change time alone: unlike mtime nobody can set it, and every change moves it.
  const io::Duration window = ctime_ns % kSecondNs == 0 ? kCoarseRacyWindow : kRacyWindow;
  return ctime_ns > unix_ns - window.count();
}

bool FileStamp::is_racy_now() const {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return is_racy_at(to_ns(now));
}

void FileStamps::add(std::string path, const FileStamp& stamp, bool follow) {
  racy_ = racy_ || stamp.is_racy_at(began_unix_ns_);
  bytes_ += sizeof(Item) + path.size();
  items_.push_back({std::move(path), stamp, follow});
}

bool FileStamps::unchanged() const {
  return std::ranges::all_of(items_, [](const Item& item) { return item.unchanged(); });
}

bool FileStamps::unchanged_by(const io::Clock& clock, io::Instant end) const {
  return std::ranges::all_of(
      items_, [&](const Item& item) { return item.unchanged() && clock.now() <= end; });
}

}  // namespace weir::git
