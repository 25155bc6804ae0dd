#include "git/maintenance_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "git/push_leftovers.h"
#include "io/error.h"

namespace weir::git {
namespace {

namespace fs = std::filesystem;

// git's: a pid is believed this long.
constexpr std::int64_t kGcPidBelievedS = 12 * 3'600L;
// git holds gc.pid.lock for the time of one small write.
constexpr std::int64_t kGcPidLockBelievedS = 60;
// File times are as coarse as a kernel tick, process start times as 10 ms.
constexpr std::int64_t kTimeSlackNs = 50'000'000;

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::int64_t age_s(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return INT64_MAX;
  return std::time(nullptr) - status.st_mtim.tv_sec;
}

// Who holds gc.pid, in words; "" if nobody does. Format: "<pid> <host>".
std::string holder_of(const std::string& gc_pid) {
  if (age_s(gc_pid) > kGcPidBelievedS) return "";
  std::ifstream in(gc_pid);
  pid_t pid = 0;
  std::string host;
  if (!(in >> pid >> host) || pid <= 0) return "";
  const bool here = host == host_name();
  if (here && ::kill(pid, 0) != 0 && errno != EPERM) return "";
  return "git gc or another maintenance runs there (process " + std::to_string(pid) + " on " +
         host + ")";
}

}  // namespace

std::string MaintenanceLock::take(const Repository& repository) {
  const std::string packs = repository.common_dir + "/objects/pack";
  io::UniqueFd folder(::open(packs.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return to_string(io::fail_errno("open folder of packs").error());
  struct stat status{};
  if (::fstat(folder.get(), &status) == 0 && status.st_uid != ::geteuid()) {
    return "it belongs to another user: run as the one that serves it";
  }
  if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
    return "another maintenance runs there, or what one left that was killed";
  }
  const std::string path = repository.common_dir + "/gc.pid";
  const std::string draft = path + ".lock";
  if (age_s(draft) != INT64_MAX && age_s(draft) > kGcPidLockBelievedS) ::unlink(draft.c_str());
  const io::UniqueFd file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.valid()) return to_string(io::fail_errno("create gc.pid.lock").error());
  if (std::string holder = holder_of(path); !holder.empty()) {
    ::unlink(draft.c_str());
    return holder;
  }
  const std::string text = std::to_string(::getpid()) + " " + host_name();
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::rename(draft.c_str(), path.c_str()) != 0) {
    std::string problem = to_string(io::fail_errno("write gc.pid").error());
    ::unlink(draft.c_str());
    return problem;
  }
  gc_pid_ = path;
  packs_ = std::move(folder);
  return "";
}

MaintenanceLock::~MaintenanceLock() {
  if (!gc_pid_.empty()) ::unlink(gc_pid_.c_str());
}

std::size_t remove_temporary_packs(const Repository& repository) {
  // Whoever works there now and began before a file was last written may be its writer.
  std::int64_t first_live_unix_ns = INT64_MAX;
  for (const RepositoryProcess& process :
       processes_in_repository(repository.git_dir, repository.common_dir, 0)) {
    first_live_unix_ns = std::min(first_live_unix_ns, process.started_unix_ns);
  }
  std::size_t removed = 0;
  std::error_code error;
  for (fs::directory_iterator entry(repository.common_dir + "/objects/pack", error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with("tmp_") && !name.starts_with(".tmp-")) continue;
    struct stat status{};
    if (::lstat(entry->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const std::int64_t changed = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
    if (changed >= first_live_unix_ns - kTimeSlackNs) continue;
    if (::unlink(entry->path().c_str()) == 0) ++removed;
  }
  return removed;
}

}  // namespace weir::git
