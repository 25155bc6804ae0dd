#include "io/launcher_child.h"

#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>
#include <vector>

#include "io/check.h"

namespace weir::io {
namespace {

constexpr std::size_t kStackBytes = 128 * 1024;  // the child's until its execve
constexpr int kChannelTarget = 3;

struct Limit {
  __rlimit_resource resource;
  std::uint64_t value;
};

struct ChildStart {
  const char* program;
  char* const* argv;
  char* const* env;
  const char* working_directory;
  int sources[4];  // for descriptors 0..3; -1: none
  pid_t launcher;  // to die with; 0: it lives on
  int nice;
  int file_rules;               // -1: none
  const SyscallFilter* filter;  // null: none
  Limit limits[5];
  ChildStartError* failure;  // written by the child, in memory shared with it
};

// The thread sanitizer follows no child that shares its memory: there the child gets a copy.
#if __has_feature(thread_sanitizer)
constexpr int kShareMemory = 0;
#else
constexpr int kShareMemory = CLONE_VM;
#endif

// Runs on a stack that the sanitizer does not know.
[[noreturn, clang::no_sanitize("address")]] void give_up(ChildStart& start, const char* step) {
  *start.failure = {errno, step};
  _exit(127);
}

[[clang::no_sanitize("address")]] int child_main(void* argument) {
  ChildStart& start = *static_cast<ChildStart*>(argument);
  // Signal dispositions and descriptors are the child's own copies.
  for (int signal = 1; signal < 65; ++signal) {
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, nullptr);  // fails for KILL and STOP, which have no disposition
  }
  if (setpgid(0, 0) != 0) give_up(start, "setpgid");
  if (start.launcher != 0) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up(start, "prctl");
    if (getppid() != start.launcher) _exit(127);  // it died before that
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up(start, "no_new_privs");
  int first_closed = 0;
  for (int target = 0; target <= kChannelTarget; ++target) {
    const int source = start.sources[target];
    if (source < 0) continue;
    if (dup2(source, target) < 0) give_up(start, "dup2");
    first_closed = target + 1;
  }
  if (start.file_rules >= 0 && restrict_files(start.file_rules) != 0) give_up(start, "landlock");
  if (close_range(static_cast<unsigned>(first_closed), ~0U, 0) != 0) give_up(start, "close_range");
  for (const Limit& limit : start.limits) {
    const rlimit value = {.rlim_cur = limit.value, .rlim_max = limit.value};
    if (setrlimit(limit.resource, &value) != 0) give_up(start, "setrlimit");
  }
  if (setpriority(PRIO_PROCESS, 0, start.nice) != 0) give_up(start, "setpriority");
  if (chdir(start.working_directory) != 0) give_up(start, "chdir");
  sigset_t none;
  sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, nullptr) != 0) give_up(start, "sigprocmask");
  if (start.filter != nullptr && start.filter->put_on_this_thread() != 0) give_up(start, "seccomp");
  execve(start.program, start.argv, start.env);
  give_up(start, "execve");
}

std::vector<char*> c_strings(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// No limit asked: what the launcher itself may have. Never above it: that would need privileges.
Limit limited(__rlimit_resource resource, std::uint64_t wanted) {
  rlimit own = {};
  WEIR_CHECK(getrlimit(resource, &own) == 0);
  return {resource, wanted == 0 ? own.rlim_max : std::min<std::uint64_t>(wanted, own.rlim_max)};
}

// One mapping for all children, one after the other: the place of the failure, then the stack.
char* child_memory() {
  static char* const memory = [] {
    void* base =
        mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    WEIR_CHECK(base != MAP_FAILED);
    return static_cast<char*>(base);
  }();
  return memory;
}

}  // namespace

std::expected<StartedChild, ChildStartError> start_child(const SubprocessSpec& spec,
                                                         std::span<const int> descriptors,
                                                         const ChildSandbox* sandbox) {
  UniqueFd file_rules;
  if (sandbox != nullptr) {
    if (!sandbox->may_run(spec.argv[0])) return std::unexpected(ChildStartError{EPERM, "program"});
    Result<UniqueFd> rules = sandbox->file_rules(spec);
    if (!rules)
      return std::unexpected(ChildStartError{rules.error().sys_errno, rules.error().where});
    file_rules = std::move(*rules);
    WEIR_CHECK(!file_rules.valid() || file_rules.get() > kChannelTarget);
  }
  const std::vector<char*> argv = c_strings(spec.argv);
  const std::vector<char*> env = c_strings(spec.env);
  WEIR_CHECK(descriptors.size() == 2U + (spec.merge_stderr ? 0U : 1U) + (spec.channel ? 1U : 0U));
  for (const int fd : descriptors) WEIR_CHECK(fd > kChannelTarget);
  ChildStart start = {
      .program = spec.argv[0].c_str(),
      .argv = argv.data(),
      .env = env.data(),
      .working_directory = spec.working_directory.empty() ? "/" : spec.working_directory.c_str(),
      .sources = {descriptors[0], descriptors[1], descriptors[spec.merge_stderr ? 1 : 2],
                  spec.channel ? descriptors.back() : -1},
      .launcher = spec.may_finish ? 0 : getpid(),
      .nice = spec.nice,
      .file_rules = file_rules.get(),
      .filter = sandbox != nullptr ? sandbox->filter(spec.rights) : nullptr,
      .limits = {limited(RLIMIT_CPU, spec.cpu_s_max),
                 limited(RLIMIT_DATA, spec.data_bytes_max),
                 limited(RLIMIT_FSIZE, spec.file_bytes_max),
                 limited(RLIMIT_NOFILE, spec.files_max),
                 {RLIMIT_CORE, 0}},  // a core may hold secrets
      .failure = new (child_memory()) ChildStartError{0, ""},
  };
  StartedChild child;
  int pidfd = -1;
  child.pid = clone(child_main, child_memory() + kStackBytes,
                    kShareMemory | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &start, &pidfd);
  if (child.pid < 0) return std::unexpected(ChildStartError{errno, "clone"});
  child.pidfd.reset(pidfd);
  if (start.failure->sys_errno != 0) {
    while (waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return std::unexpected(*start.failure);
  }
  return child;
}

}  // namespace weir::io
