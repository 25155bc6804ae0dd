#include "git/push_leftovers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <optional>
#include <thread>

#include "io/process_identity.h"
#include "io/unique_fd.h"

namespace weir::git {
namespace {

namespace fs = std::filesystem;

// File times are as coarse as a kernel tick, process start times as 10 ms.
constexpr std::int64_t kTimeSlackNs = 50'000'000;

std::int64_t time_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// Of a process that may end meanwhile: then it is empty.
std::string read_file(const fs::path& path) {
  const io::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char chunk[4096];
  ssize_t got = 0;
  while (fd.valid() && (got = ::read(fd.get(), chunk, sizeof chunk)) > 0) {
    text.append(chunk, static_cast<std::size_t>(got));
  }
  return got < 0 ? "" : text;
}

// Field 5 of /proc/<pid>/stat; the name before it may hold spaces and parentheses.
pid_t process_group(const fs::path& process) {
  const std::string stat = read_file(process / "stat");
  std::size_t at = stat.rfind(") ");
  if (at == stat.npos) return 0;
  at += 2;
  for (int field = 3; field < 5; ++field) {
    at = stat.find(' ', at);
    if (at == stat.npos) return 0;
    ++at;
  }
  pid_t group = 0;
  std::from_chars(stat.data() + at, stat.data() + stat.size(), group);
  return group;
}

bool inside(std::string_view path, std::string_view directory) {
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

// The folder that a process which works in the repository is in: of a work tree, all of it.
std::string_view repository_root(std::string_view git_dir) {
  if (git_dir.ends_with("/.git")) git_dir.remove_suffix(5);
  return git_dir;
}

// Commands that serve fetches: they run long and never take a lock.
bool only_reads(const std::string& command) {
  const std::string_view line(command);
  const std::size_t end = line.find('\0');
  if (end == line.npos) return false;
  const std::string_view program = line.substr(0, end);
  const std::string_view argument = line.substr(end + 1, line.find('\0', end + 1) - end - 1);
  if (program != "git" && !program.ends_with("/git")) return false;
  return argument == "upload-pack" || argument == "pack-objects" || argument == "rev-list" ||
         argument == "cat-file";
}

bool works_in(const fs::path& process, const std::string& git_dir, const std::string& common_dir) {
  std::error_code error;
  const std::string directory = fs::read_symlink(process / "cwd", error).string();
  const std::string command = read_file(process / "cmdline");
  if (only_reads(command)) return false;
  if (!error && (inside(directory, repository_root(git_dir)) ||
                 inside(directory, repository_root(common_dir)))) {
    return true;
  }
  if (!read_file(process / "comm").starts_with("git")) return false;
  if (error == std::errc::permission_denied) return true;
  return command.find(git_dir) != command.npos || command.find(common_dir) != command.npos;
}

struct Found {
  std::int64_t made_unix_ns;
  std::uint64_t inode;
  friend bool operator==(const Found&, const Found&) = default;
};

// Nullopt if the file is not there or is not ours.
std::optional<Found> find(const fs::path& path) {
  struct statx status{};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW,
              STATX_BTIME | STATX_MTIME | STATX_UID | STATX_INO, &status) != 0 ||
      status.stx_uid != ::geteuid()) {
    return std::nullopt;
  }
  // Without a birth time the last change stands for it: later, so that we rather wait.
  const statx_timestamp& time =
      (status.stx_mask & STATX_BTIME) != 0 ? status.stx_btime : status.stx_mtime;
  return Found{time.tv_sec * 1'000'000'000 + time.tv_nsec, status.stx_ino};
}

// Known to be of no concern. What a disk that fails does not tell may still be there.
bool no_leftover(const fs::path& path) {
  errno = 0;
  return !find(path) && (errno == 0 || errno == ENOENT || errno == ENOTDIR);
}

enum class Verdict : std::uint8_t { absent, foreign, maybe_alive, dead };

Verdict judge(const fs::path& path, const PushRecord& record, std::int64_t first_live_unix_ns) {
  const std::optional<Found> found = find(path);
  if (!found) return no_leftover(path) ? Verdict::absent : Verdict::maybe_alive;
  const std::int64_t made = found->made_unix_ns;
  if (made < record.started_unix_ns - kTimeSlackNs) return Verdict::foreign;
  return made < first_live_unix_ns - kTimeSlackNs ? Verdict::dead : Verdict::maybe_alive;
}

// Marks of packs that git keeps until its refs are there: "receive-pack <pid> on <host>". git does
// not sync them, so that one may be empty or zeros; then the age of its pack tells whose it is.
std::vector<fs::path> keep_marks(const PushRecord& record) {
  const std::string ours = "receive-pack " + std::to_string(record.pid) + " on ";
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(fs::path(record.common_dir) / "objects/pack", error), end;
       !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.extension() != ".keep") continue;
    const std::string text = read_file(path);
    if (text.starts_with(ours)) {
      found.push_back(path);
    } else if (ours.starts_with(text) || text.find_first_not_of('\0') == text.npos) {
      fs::path pack = path;
      const std::optional<Found> made = find(pack.replace_extension(".pack"));
      if (made && made->made_unix_ns >= record.started_unix_ns - kTimeSlackNs) {
        found.push_back(path);
      }
    }
  }
  return found;
}

// Somebody who holds a lock briefly (a hook of another push) has let go of it by now.
bool stays(const fs::path& path) {
  constexpr std::int64_t kHeldBrieflyNs = 100'000'000;
  const std::optional<Found> before = find(path);
  if (!before) return false;
  const std::int64_t age = time_ns(CLOCK_REALTIME) - before->made_unix_ns;
  if (age < kHeldBrieflyNs) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(kHeldBrieflyNs - std::max(age, 0L)));
  }
  return find(path) == before;
}

std::int64_t first_start(const std::vector<RepositoryProcess>& processes) {
  std::int64_t first = INT64_MAX;
  for (const RepositoryProcess& process : processes) {
    first = std::min(first, process.started_unix_ns);
  }
  return first;
}

// The processes without those of pushes that do not touch `ref`.
std::vector<RepositoryProcess> who_may_lock(const std::string& ref,
                                            std::vector<RepositoryProcess> processes,
                                            const std::vector<PushRecord>& live) {
  std::erase_if(processes, [&](const RepositoryProcess& process) {
    return std::ranges::any_of(live, [&](const PushRecord& push) {
      return push.pid == process.group && std::ranges::find(push.refs, ref) == push.refs.end();
    });
  });
  return processes;
}

}  // namespace

std::vector<RepositoryProcess> processes_in_repository(const std::string& git_dir,
                                                       const std::string& common_dir,
                                                       pid_t except) {
  std::vector<RepositoryProcess> found;
  const std::int64_t boot_unix_ns = time_ns(CLOCK_REALTIME) - time_ns(CLOCK_BOOTTIME);
  const std::int64_t tick_ns = 1'000'000'000 / ::sysconf(_SC_CLK_TCK);
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    pid_t pid = 0;
    const auto [stopped, bad] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (bad != std::errc{} || stopped != name.data() + name.size()) continue;
    if (pid == ::getpid() || pid == except) continue;
    if (!works_in(entry->path(), git_dir, common_dir)) continue;
    const std::uint64_t ticks = io::process_start_ticks(pid);
    if (!io::process_runs(pid, ticks)) continue;
    found.push_back({pid, process_group(entry->path()),
                     boot_unix_ns + static_cast<std::int64_t>(ticks) * tick_ns});
  }
  return found;
}

Leftovers remove_leftovers(const PushRecord& record, pid_t except,
                           const std::vector<PushRecord>& live) {
  struct Candidate {
    fs::path path;
    std::string ref;  // of a ref's lock
  };
  const fs::path common(record.common_dir);
  std::vector<Candidate> locks;
  for (const std::string& ref : record.refs) locks.push_back({common / (ref + ".lock"), ref});
  locks.push_back({fs::path(record.git_dir) / "HEAD.lock", ""});
  for (const char* name : {"packed-refs.lock", "packed-refs.new", "shallow.lock"}) {
    locks.push_back({common / name, ""});
  }
  for (const fs::path& path : keep_marks(record)) locks.push_back({path, ""});
  std::vector<fs::path> quarantines;
  std::error_code error;
  for (fs::directory_iterator entry(common / "objects", error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename().string().starts_with("tmp_objdir-incoming-")) {
      quarantines.push_back(entry->path());
    }
  }
  std::erase_if(locks, [](const Candidate& lock) { return no_leftover(lock.path); });
  Leftovers result;
  if (error && error != std::errc::no_such_file_or_directory) ++result.kept;
  if (locks.empty() && quarantines.empty()) return result;

  const std::vector<RepositoryProcess> processes =
      processes_in_repository(record.git_dir, record.common_dir, except);
  const std::int64_t first_live_unix_ns = first_start(processes);
  const auto remove = [&result](const fs::path& path, std::size_t& count) {
    std::error_code failed;
    const bool removed = fs::remove_all(path, failed) > 0;
    if (failed) {
      ++result.kept;
    } else if (removed) {
      ++count;
    }
  };
  for (const auto& [path, ref] : locks) {
    Verdict verdict = judge(path, record, first_live_unix_ns);
    if (verdict == Verdict::maybe_alive && !ref.empty()) {
      const std::int64_t first = first_start(who_may_lock(ref, processes, live));
      if (judge(path, record, first) == Verdict::dead && stays(path)) verdict = Verdict::dead;
    }
    if (verdict == Verdict::maybe_alive) ++result.kept;
    if (verdict == Verdict::dead) remove(path, result.locks);
  }
  for (const fs::path& path : quarantines) {
    const Verdict verdict = judge(path, record, first_live_unix_ns);
    if (verdict == Verdict::maybe_alive) ++result.kept;
    if (verdict == Verdict::dead) remove(path, result.quarantines);
  }
  return result;
}

void end_orphans(const PushRecord& record) {
  constexpr int kRoundsMax = 50;  // half a second: a killed process needs a moment to go
  for (int round = 0; round < kRoundsMax; ++round) {
    if (record.child_runs()) return;
    bool any = false;
    for (const RepositoryProcess& process :
         processes_in_repository(record.git_dir, record.common_dir, 0)) {
      if (process.group != record.pid ||
          process.started_unix_ns < record.started_unix_ns - kTimeSlackNs) {
        continue;
      }
      ::kill(process.pid, SIGKILL);
      any = true;
    }
    if (!any) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace weir::git
