#include "git/maintenance.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <ctime>

#include "git/maintenance_lock.h"
#include "io/unique_fd.h"

namespace weir::git {
namespace {

constexpr std::size_t kOutputBytesMax = 4096;        // kept of what git says
constexpr std::uint64_t kFreeBytesMin = 64UL << 20;  // left on the disk beside a full copy

struct Finished {
  bool ok = false;
  std::string output;  // the end of stdout and stderr
};

// The last line that says something.
std::string last_line(std::string text) {
  while (!text.empty() && text.back() <= ' ') text.pop_back();
  text.erase(0, text.rfind('\n') + 1);
  std::erase_if(text, [](char c) { return static_cast<unsigned char>(c) < ' '; });
  return text;
}

class Run {
 public:
  Run(const Repository& repository, const MaintenanceOptions& options, const MaintenanceLock& lock)
      : repository_(repository), options_(options), lock_(lock) {}

  StepResult step(MaintenanceStep step, const RepositoryLayout& layout);
  // The repository says that none of its objects may be deleted, for whatever reason.
  bool precious() const {
    const Finished told = git({"config", "--type=bool", "extensions.preciousObjects"});
    return told.ok && last_line(told.output) == "true";
  }

 private:
  Finished git(const std::vector<std::string>& arguments) const;
  Finished roll_up(const RepositoryLayout& layout) const;
  Finished core(const RepositoryLayout& layout) const;
  Finished commit_graph() const;
  bool disk_has_room(const RepositoryLayout& layout) const;
  // How old an unreachable object must be to be deleted; -1: nothing is.
  std::int64_t expiry_age_s() const;

  const Repository& repository_;
  const MaintenanceOptions& options_;
  const MaintenanceLock& lock_;
  bool core_made_ = false;
};

// A child inherits the lock and nothing else. It gets SIGTERM when we die: then git removes its
// drafts.
Finished Run::git(const std::vector<std::string>& arguments) const {
  std::vector<std::string> words = {options_.git_path};
  for (const char* setting :
       {"core.useReplaceRefs=false", "core.fsync=committed,derived-metadata", "gc.auto=0",
        "pack.threads=1", "pack.windowMemory=128m", "pack.deltaCacheSize=64m",
        "pack.packSizeLimit=0", "pack.writeReverseIndex=true", "pack.writeBitmapHashCache=true",
        "pack.writeBitmapLookupTable=true", "pack.preferBitmapTips=refs/heads/",
        "pack.preferBitmapTips=refs/tags/", "core.multiPackIndex=true",
        "commitGraph.generationVersion=2", "core.commitGraph=true"}) {
    words.insert(words.end(), {"-c", setting});
  }
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = {"GIT_DIR=" + repository_.git_dir,
                                          "GIT_CONFIG_NOSYSTEM=1",
                                          "GIT_CONFIG_GLOBAL=/dev/null",
                                          "GIT_TERMINAL_PROMPT=0",
                                          "GIT_NO_LAZY_FETCH=1",
                                          "LC_ALL=C",
                                          "PATH=/usr/local/bin:/usr/bin:/bin"};
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (std::string& text : texts) list.push_back(text.data());
    list.push_back(nullptr);
    return list;
  };
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> envp = pointers(environment);

  Finished finished;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return finished;
  const io::UniqueFd output(ends[0]);
  io::UniqueFd input(ends[1]);
  const io::UniqueFd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(127);
    ::dup2(nothing.get(), STDIN_FILENO);
    ::dup2(input.get(), STDOUT_FILENO);
    ::dup2(input.get(), STDERR_FILENO);
    ::fcntl(lock_.inherited_fd(), F_SETFD, 0);
    if (::chdir(repository_.git_dir.c_str()) == 0) {
      ::execve(argv.front(), argv.data(), envp.data());
    }
    ::_exit(127);
  }
  input.reset();
  char chunk[4096];
  for (ssize_t got = 0; child > 0;) {
    got = ::read(output.get(), chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    finished.output.append(chunk, static_cast<std::size_t>(got));
    if (finished.output.size() > kOutputBytesMax) {
      finished.output.erase(0, finished.output.size() - kOutputBytesMax);
    }
  }
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  finished.ok = child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return finished;
}

bool Run::disk_has_room(const RepositoryLayout& layout) const {
  struct statvfs disk{};
  if (::statvfs(repository_.common_dir.c_str(), &disk) != 0) return false;
  return disk.f_bavail * disk.f_frsize >=
         layout.pack_bytes + layout.cruft_bytes + layout.pack_bytes / 2 + kFreeBytesMin;
}

std::int64_t Run::expiry_age_s() const {
  if (options_.borrowed_from && options_.borrowed_from(repository_.common_dir + "/objects")) {
    return -1;
  }
  const Finished told = git({"config", "--type=expiry-date", "gc.pruneExpire"});
  if (!told.ok) return kUnreachableKeptMinS;
  std::uint64_t before_unix_s = 0;  // 0: never; the largest: now
  const std::string text = last_line(told.output);
  const auto read = std::from_chars(text.data(), text.data() + text.size(), before_unix_s);
  if (read.ec != std::errc{} || before_unix_s == 0) return -1;
  const auto now_unix_s = static_cast<std::uint64_t>(std::time(nullptr));
  if (before_unix_s >= now_unix_s) return kUnreachableKeptMinS;
  return std::max(kUnreachableKeptMinS, static_cast<std::int64_t>(now_unix_s - before_unix_s));
}

Finished Run::roll_up(const RepositoryLayout& layout) const {
  std::vector<std::string> words = {"repack", "-q", "-d", "-l", "--geometric=2", "--write-midx"};
  if (!layout.borrows && !layout.shallow) words.emplace_back("--write-bitmap-index");
  if (!layout.server_info) words.emplace_back("-n");
  return git(words);
}

// As a regular expression that matches the branch alone.
std::string exactly(std::string_view branch) {
  std::string out;
  for (const char c : branch) {
    if (std::string_view(".+(){}|$^*?[]\\").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

Finished Run::core(const RepositoryLayout& layout) const {
  constexpr std::string_view kHeads = "refs/heads/";
  // A ref is of the island of the last pattern that matches it: the default branch alone makes up
  // the core of the pack, and what is written first.
  std::vector<std::string> words = {"-c", "pack.island=refs/heads/", "-c",
                                    "pack.island=refs/tags/"};
  if (layout.head_branch.starts_with(kHeads)) {
    const std::string branch = layout.head_branch.substr(kHeads.size());
    words.insert(words.end(), {"-c", "pack.island=refs/heads/(" + exactly(branch) + ")$", "-c",
                               "pack.islandCore=" + branch});
  }
  const std::int64_t age_s = expiry_age_s();
  const std::string expiry = age_s < 0 ? "never" : std::to_string(age_s) + ".seconds.ago";
  words.insert(words.end(), {"repack", "-q", "-a", "-d", "-l", "--delta-islands", "--cruft",
                             "--cruft-expiration=" + expiry});
  if (!layout.borrows && !layout.shallow) words.emplace_back("-b");
  if (!layout.server_info) words.emplace_back("-n");
  Finished finished = git(words);
  // Old loose objects stay outside of the cruft pack.
  if (finished.ok && age_s >= 0) finished = git({"prune", "--expire=" + expiry});
  return finished;
}

Finished Run::commit_graph() const {
  // After a core pack commits may be gone that older parts of a chain still name.
  return git({"commit-graph", "write", "--reachable", "--no-progress",
              core_made_ ? "--split=replace" : "--split"});
}

StepResult Run::step(MaintenanceStep step, const RepositoryLayout& layout) {
  StepResult result{.step = step, .problem = "", .bytes_before = layout.pack_bytes};
  if (!disk_has_room(layout)) {
    result.problem = "the disk has no room for a second copy of the packs";
    return result;
  }
  const auto began = std::chrono::steady_clock::now();
  Finished finished;
  switch (step) {
    case MaintenanceStep::roll_up:
      finished = roll_up(layout);
      break;
    case MaintenanceStep::core:
      finished = core(layout);
      core_made_ = true;
      break;
    case MaintenanceStep::commit_graph:
      finished = commit_graph();
      break;
  }
  if (!finished.ok) {
    const std::string said = last_line(std::move(finished.output));
    result.problem = said.empty() ? "git failed" : said;
  }
  result.milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(
                            std::chrono::steady_clock::now() - began)
                            .count();
  return result;
}

}  // namespace

bool keeps_order_of_names(std::uint64_t magic) {
  constexpr std::array<std::uint64_t, 6> kOrdered = {
      0xef53,      // ext4
      0x58465342,  // xfs
      0x9123683e,  // btrfs
      0x2fc12fc1,  // zfs
      0x794c7630,  // overlayfs: as what lies under it, a local disk of a container's host
      0x01021994,  // tmpfs: nothing of it is there after a power cut
  };
  return std::ranges::find(kOrdered, magic) != kOrdered.end();
}

io::Result<MaintenanceReport> maintain(const Repository& repository,
                                       const MaintenanceOptions& options) {
  MaintenanceReport report;
  const auto look = [&](RepositoryLayout& into) -> io::Result<void> {
    auto layout = read_repository_layout(repository, std::time(nullptr));
    if (!layout) return std::unexpected(layout.error());
    into = std::move(*layout);
    return {};
  };
  if (auto looked = look(report.before); !looked) return std::unexpected(looked.error());
  report.after = report.before;
  report.plan = plan_maintenance(report.before, options.thresholds);
  if (options.dry_run) return report;
  if (report.plan.steps.empty() && report.before.temporary_files.empty()) return report;

  struct statfs disk{};
  const bool ordered = ::statfs(repository.common_dir.c_str(), &disk) == 0 &&
                       keeps_order_of_names(static_cast<std::uint32_t>(disk.f_type));
  if (!options.on_any_file_system && !ordered) {
    report.skipped =
        "its file system may keep names in any order: a power cut could take packs that git "
        "replaces; weir maintain repacks there when it is asked to by hand";
    return report;
  }

  MaintenanceLock lock;
  report.skipped = lock.take(repository);
  if (!report.skipped.empty()) return report;
  report.temporary_files_removed = remove_temporary_packs(repository);
  // Another one may have done it while we came to the lock.
  if (auto looked = look(report.before); !looked) return std::unexpected(looked.error());
  report.after = report.before;
  report.plan = plan_maintenance(report.before, options.thresholds);
  Run run(repository, options, lock);
  if (!report.plan.steps.empty() && run.precious()) {
    report.skipped = "extensions.preciousObjects is set: git deletes no pack there";
    return report;
  }
  for (const PlannedStep& planned : report.plan.steps) {
    StepResult result = run.step(planned.step, report.after);
    if (auto looked = look(report.after); !looked) return std::unexpected(looked.error());
    result.bytes_after = report.after.pack_bytes;
    if (planned.step == MaintenanceStep::core && result.problem.empty()) {
      const auto noted =
          write_core_note(repository, report.after.largest_pack, report.after.head_branch);
      if (!noted) result.problem = to_string(noted.error());
      if (auto looked = look(report.after); !looked) return std::unexpected(looked.error());
    }
    report.results.push_back(std::move(result));
    if (report.failed()) break;
  }
  return report;
}

void become_idle() {
  constexpr int kProcess = 1;         // IOPRIO_WHO_PROCESS
  constexpr int kIdleDisk = 3 << 13;  // IOPRIO_CLASS_IDLE
  constexpr int kNiceMax = 19;
  ::setpriority(PRIO_PROCESS, 0, kNiceMax);
  const sched_param none{};
  ::sched_setscheduler(0, SCHED_IDLE, &none);
  ::syscall(SYS_ioprio_set, kProcess, 0, kIdleDisk);
}

}  // namespace weir::git
