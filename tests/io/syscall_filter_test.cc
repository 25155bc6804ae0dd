// Each attempt is made by a process of its own that has put the filter on, as the product does.
#include "io/syscall_filter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <span>
#include <string>
#include <thread>

namespace weir::io {
namespace {

constexpr int kKilled = 1000, kNoFilter = 250;

// What became of the attempt: 0, the errno it returned, or kKilled.
int attempt(const SyscallFilter& filter, const std::function<long()>& act) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || filter.put_on_all_threads() != 0) {
      _exit(kNoFilter);
    }
    errno = 0;
    _exit(act() >= 0 ? 0 : errno);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGSYS ? kKilled : -WTERMSIG(status);
  return WEXITSTATUS(status);
}

long raw_clone(unsigned long flags) {
  const long pid = syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, 0UL);
  if (pid == 0) _exit(0);
  return pid;
}

long open_socket(int family) {
  return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

long spawn_true() {
  char name[] = "true";
  char* argv[] = {name, nullptr};
  pid_t pid = -1;
  errno = posix_spawn(&pid, "/bin/true", nullptr, nullptr, argv, nullptr);
  return errno == 0 ? 0 : -1;
}

long change_mode() {
  return chmod("/dev/null", 0666);
}

struct Attempt {
  const char* what;
  std::function<long()> act;
  int outcome;
};

const Attempt kNeededByNobody[] = {
    {"mount", [] { return mount("none", "/", "tmpfs", 0, nullptr); }, EPERM},
    {"umount2", [] { return umount2("/", MNT_DETACH); }, EPERM},
    {"open_tree", [] { return syscall(SYS_open_tree, AT_FDCWD, "/", 0); }, EPERM},
    {"move_mount", [] { return syscall(SYS_move_mount, -1, "", -1, "", 0); }, EPERM},
    {"pivot_root", [] { return syscall(SYS_pivot_root, "/", "/"); }, EPERM},
    {"unshare", [] { return unshare(CLONE_NEWUSER); }, EPERM},
    {"setns", [] { return setns(-1, 0); }, EPERM},
    {"bpf", [] { return syscall(SYS_bpf, 0, nullptr, 0); }, EPERM},
    {"perf_event_open", [] { return syscall(SYS_perf_event_open, nullptr, 0, 0, 0, 0); }, EPERM},
    {"userfaultfd", [] { return syscall(SYS_userfaultfd, 0); }, EPERM},
    {"keyctl", [] { return syscall(SYS_keyctl, 0, 0, 0, 0, 0); }, EPERM},
    {"add_key", [] { return syscall(SYS_add_key, "user", "x", "y", 1, 0); }, EPERM},
    {"request_key", [] { return syscall(SYS_request_key, "user", "x", nullptr, 0); }, EPERM},
    {"init_module", [] { return syscall(SYS_init_module, nullptr, 0, ""); }, EPERM},
    {"finit_module", [] { return syscall(SYS_finit_module, -1, "", 0); }, EPERM},
    {"kexec_load", [] { return syscall(SYS_kexec_load, 0, 0, nullptr, 0); }, EPERM},
    {"reboot", [] { return syscall(SYS_reboot, 0, 0, 0, nullptr); }, EPERM},
    {"swapon", [] { return syscall(SYS_swapon, "", 0); }, EPERM},
    {"pidfd_getfd", [] { return syscall(SYS_pidfd_getfd, -1, 0, 0); }, EPERM},
    {"open_by_handle_at", [] { return syscall(SYS_open_by_handle_at, -1, nullptr, 0); }, EPERM},
    {"io_uring_setup",
     [] {
       io_uring_params params{};
       return syscall(SYS_io_uring_setup, 1, &params);
     },
     EPERM},
};

void expect_outcomes(const SyscallFilter& filter, std::span<const Attempt> attempts) {
  for (const Attempt& one : attempts) {
    EXPECT_EQ(attempt(filter, one.act), one.outcome) << one.what;
  }
}

TEST(SyscallFilter, the_serving_process_starts_nothing_and_looks_into_nobody) {
  ASSERT_TRUE(SyscallFilter::available());
  const auto filter = SyscallFilter::for_serving();
  ASSERT_TRUE(filter) << to_string(filter.error());
  const Attempt kAttempts[] = {
      {"execve", [] { return execl("/bin/true", "true", nullptr); }, kKilled},
      {"execveat", [] { return syscall(SYS_execveat, AT_FDCWD, "/bin/true", nullptr, nullptr, 0); },
       kKilled},
      {"posix_spawn", spawn_true, kKilled},
      {"fork", [] { return static_cast<long>(fork()); }, kKilled},
      {"clone", [] { return raw_clone(0); }, kKilled},
      {"clone for a new user namespace", [] { return raw_clone(CLONE_NEWUSER); }, kKilled},
      {"clone3", [] { return syscall(SYS_clone3, nullptr, 0); }, ENOSYS},
      {"ptrace", [] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }, kKilled},
      {"process_vm_readv", [] { return process_vm_readv(getppid(), nullptr, 0, nullptr, 0, 0); },
       kKilled},
      {"process_vm_writev", [] { return process_vm_writev(getppid(), nullptr, 0, nullptr, 0, 0); },
       kKilled},
      {"personality", [] { return static_cast<long>(personality(ADDR_NO_RANDOMIZE)); }, EPERM},
      {"dumpable", [] { return static_cast<long>(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }, EPERM},
      {"dumpable, with bits that the kernel ignores",
       [] { return syscall(SYS_prctl, (1UL << 40) | PR_SET_DUMPABLE, 1, 0, 0, 0); }, EPERM},
      {"a netlink socket", [] { return open_socket(AF_NETLINK); }, EAFNOSUPPORT},
      {"a packet socket", [] { return open_socket(AF_PACKET); }, EAFNOSUPPORT},
      {"an X.25 socket", [] { return open_socket(AF_X25); }, EAFNOSUPPORT},
  };
  expect_outcomes(*filter, kAttempts);
  expect_outcomes(*filter, kNeededByNobody);
}

TEST(SyscallFilter, the_serving_process_keeps_what_it_needs) {
  const auto filter = SyscallFilter::for_serving();
  ASSERT_TRUE(filter) << to_string(filter.error());
  const Attempt kAttempts[] = {
      {"threads",
       [] {
         std::atomic<int> value{0};
         std::thread([&value] { value = 1; }).join();
         return value == 1 ? 0L : -1L;
       },
       0},
      {"IPv4", [] { return open_socket(AF_INET); }, 0},
      {"IPv6", [] { return open_socket(AF_INET6); }, 0},
      {"UNIX sockets", [] { return open_socket(AF_UNIX); }, 0},
      {"files", [] { return open("/dev/null", O_RDWR | O_CLOEXEC); }, 0},
      {"signals to children of the launcher", [] { return kill(getpid(), 0); }, 0},
      {"the name of a thread", [] { return prctl(PR_SET_NAME, "weir-test"); }, 0},
  };
  expect_outcomes(*filter, kAttempts);
}

TEST(SyscallFilter, a_process_that_computes_opens_starts_and_connects_nothing) {
  const auto filter = SyscallFilter::for_computing();
  ASSERT_TRUE(filter) << to_string(filter.error());
  const Attempt kAttempts[] = {
      {"open", [] { return syscall(SYS_open, "/dev/null", O_RDONLY); }, EPERM},
      {"openat", [] { return open("/dev/null", O_RDONLY | O_CLOEXEC); }, EPERM},
      {"openat2", [] { return syscall(SYS_openat2, AT_FDCWD, "/dev/null", nullptr, 0); }, EPERM},
      {"creat", [] { return syscall(SYS_creat, "/tmp/weir-filter-test", 0600); }, EPERM},
      {"unlink", [] { return unlink("/tmp/weir-filter-test"); }, EPERM},
      {"execve", [] { return execl("/bin/true", "true", nullptr); }, EPERM},
      {"fork", [] { return static_cast<long>(fork()); }, EPERM},
      {"socket", [] { return open_socket(AF_UNIX); }, EPERM},
      {"a signal to another", [] { return kill(getppid(), 0); }, EPERM},
      {"ptrace", [] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }, EPERM},
      {"process_vm_readv", [] { return process_vm_readv(getppid(), nullptr, 0, nullptr, 0, 0); },
       EPERM},
      {"prctl", [] { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }, EPERM},
      {"change of mode", change_mode, EPERM},
  };
  expect_outcomes(*filter, kAttempts);
  expect_outcomes(*filter, kNeededByNobody);
}

TEST(SyscallFilter, a_process_that_computes_keeps_memory_and_the_descriptors_it_has) {
  const auto filter = SyscallFilter::for_computing();
  ASSERT_TRUE(filter) << to_string(filter.error());
  static const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const Attempt kAttempts[] = {
      {"memory",
       [] {
         void* const page =
             mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         return page == MAP_FAILED ? -1 : munmap(page, 4096);
       },
       0},
      {"write", [] { return write(null, "x", 1); }, 0},
      {"a memory file",
       [] {
         const int file = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
         return write(file, "x", 1) == 1 ? fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) : -1;
       },
       0},
  };
  expect_outcomes(*filter, kAttempts);
  // The filter was made by this process, which may signal itself; the child is another.
  EXPECT_EQ(attempt(*filter, [] { return syscall(SYS_tgkill, getpid(), gettid(), 0); }), EPERM);
}

TEST(SyscallFilter, holds_for_threads_that_were_there_before) {
  const auto filter = SyscallFilter::for_serving();
  ASSERT_TRUE(filter) << to_string(filter.error());
  const pid_t pid = fork();
  if (pid == 0) {
    std::atomic<bool> filtered{false};
    std::thread before([&filtered] {
      while (!filtered) sched_yield();
      _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : errno);
    });
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (filter->put_on_all_threads() != 0) _exit(kNoFilter);
    filtered = true;
    before.join();
  }
  int status = 0;
  waitpid(pid, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), EPERM);
}

#if defined(__x86_64__)
TEST(SyscallFilter, calls_by_another_architectures_numbers_end_the_process) {
  const auto filter = SyscallFilter::for_serving();
  ASSERT_TRUE(filter) << to_string(filter.error());
  EXPECT_EQ(attempt(*filter, [] { return syscall(0x40000000 | SYS_getpid); }), kKilled);  // x32
  const auto by_interrupt = [] {
    long result = 20;  // getpid of i386
    asm volatile("int $0x80" : "+a"(result) : : "memory");
    return result;
  };
  EXPECT_EQ(attempt(*filter, by_interrupt), kKilled);
}
#endif

TEST(SyscallFilter, children_have_the_sockets_of_their_kind) {
  const Attempt kNone[] = {{"UNIX", [] { return open_socket(AF_UNIX); }, EACCES},
                           {"IPv4", [] { return open_socket(AF_INET); }, EACCES}};
  const Attempt kLocal[] = {
      {"UNIX", [] { return open_socket(AF_UNIX); }, 0},
      {"IPv4", [] { return open_socket(AF_INET); }, EACCES},
      {"IPv6", [] { return open_socket(AF_INET6); }, EACCES},
      {"netlink", [] { return open_socket(AF_NETLINK); }, EACCES},
      {"IPv4 disguised", [] { return syscall(SYS_socket, (1UL << 32) | AF_INET, SOCK_STREAM, 0); },
       EACCES},
      {"UNIX disguised", [] { return syscall(SYS_socket, (1UL << 32) | AF_UNIX, SOCK_STREAM, 0); },
       EACCES},
  };
  const Attempt kAny[] = {{"UNIX", [] { return open_socket(AF_UNIX); }, 0},
                          {"IPv4", [] { return open_socket(AF_INET); }, 0}};
  expect_outcomes(*SyscallFilter::for_child(Sockets::none, true, true), kNone);
  expect_outcomes(*SyscallFilter::for_child(Sockets::local, false, true), kLocal);
  expect_outcomes(*SyscallFilter::for_child(Sockets::any, false, true), kAny);
}

TEST(SyscallFilter, children_start_programs_but_no_namespaces) {
  const auto filter = SyscallFilter::for_child(Sockets::any, false, true);
  ASSERT_TRUE(filter) << to_string(filter.error());
  const Attempt kAttempts[] = {
      {"posix_spawn", spawn_true, 0},
      {"fork", [] { return raw_clone(0); }, 0},
      {"clone for a user namespace", [] { return raw_clone(CLONE_NEWUSER); }, EPERM},
      {"clone for two of them", [] { return raw_clone(CLONE_NEWUSER | CLONE_NEWNET); }, EPERM},
      {"clone3", [] { return syscall(SYS_clone3, nullptr, 0); }, ENOSYS},
      {"ptrace", [] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); },
       kSanitized ? 0 : EPERM},
      {"chmod", change_mode, 0},
  };
  expect_outcomes(*filter, kAttempts);
  expect_outcomes(*filter, kNeededByNobody);
}

TEST(SyscallFilter, readers_leave_the_marks_of_files_alone) {
  const auto filter = SyscallFilter::for_child(Sockets::none, true, false);
  ASSERT_TRUE(filter) << to_string(filter.error());
  const Attempt kAttempts[] = {
      {"chmod", change_mode, EPERM},
      {"fchmodat2", [] { return syscall(452, AT_FDCWD, "/dev/null", 0666, 0); }, EPERM},
      {"chown", [] { return chown("/dev/null", getuid(), getgid()); }, EPERM},
      {"utimensat", [] { return utimensat(AT_FDCWD, "/dev/null", nullptr, 0); }, EPERM},
      {"setxattr", [] { return syscall(SYS_setxattr, "/dev/null", "user.x", "", 0, 0); }, EPERM},
      {"truncate", [] { return truncate("/dev/null", 0); }, EPERM},
      {"reading", [] { return open("/dev/null", O_RDONLY | O_CLOEXEC); }, 0},
  };
  expect_outcomes(*filter, kAttempts);
}

}  // namespace
}  // namespace weir::io
