#include "io/syscall_filter.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>

#include "io/check.h"
#include "io/unique_fd.h"

namespace weir::io {
namespace {

// Younger than Debian 12's libseccomp; one number on all architectures.
constexpr int kFchmodat2 = 452, kSetxattrat = 463, kRemovexattrat = 466, kOpenTreeAttr = 467;

// Nobody here needs them, and most holes in kernels of the last years were behind one of them.
constexpr int kNeverNeeded[] = {
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    kOpenTreeAttr,
    SCMP_SYS(fsopen),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(reboot),
    SCMP_SYS(kexec_load),
    SCMP_SYS(init_module),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(bpf),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(process_madvise),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(kcmp),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(quotactl_fd),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(syslog),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(clock_adjtime),
};
// The thread sanitizer's runtime starts its program anew with another personality.
constexpr int kTracing[] = {SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
                            SCMP_SYS(process_vm_writev)};
constexpr int kMarksOfFiles[] = {
    SCMP_SYS(chmod),       SCMP_SYS(fchmod),       SCMP_SYS(fchmodat),     kFchmodat2,
    SCMP_SYS(chown),       SCMP_SYS(fchown),       SCMP_SYS(lchown),       SCMP_SYS(fchownat),
    SCMP_SYS(utime),       SCMP_SYS(utimes),       SCMP_SYS(futimesat),    SCMP_SYS(utimensat),
    SCMP_SYS(setxattr),    SCMP_SYS(lsetxattr),    SCMP_SYS(fsetxattr),    kSetxattrat,
    SCMP_SYS(removexattr), SCMP_SYS(lremovexattr), SCMP_SYS(fremovexattr), kRemovexattrat,
};
// What is left to a process that computes: memory, descriptors that it has, signals to itself,
// time.
constexpr int kComputing[] = {
    SCMP_SYS(read),
    SCMP_SYS(pread64),
    SCMP_SYS(write),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(close),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),  // fstat of younger C libraries
    SCMP_SYS(fcntl),
    SCMP_SYS(memfd_create),
    SCMP_SYS(mmap),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(sched_yield),
    SCMP_SYS(getrusage),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};
constexpr unsigned kNewNamespaces[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

scmp_arg_cmp first_argument(scmp_compare how, std::uint64_t value, std::uint64_t second = 0) {
  return {.arg = 0, .op = how, .datum_a = value, .datum_b = second};
}

// Of SCMP_FLTATR_CTL_OPTIMIZE. The kernel runs a filter for every call there is when it is put on.
constexpr std::uint32_t kBinaryTree = 2;

}  // namespace

class SyscallFilterBuilder {
 public:
  // `otherwise`: what becomes of calls that no rule names.
  explicit SyscallFilterBuilder(std::uint32_t otherwise = SCMP_ACT_ALLOW)
      : context_(seccomp_init(otherwise), seccomp_release) {
    WEIR_CHECK(context_ != nullptr);
    note(seccomp_attr_set(context_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    note(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_OPTIMIZE, kBinaryTree));
  }
  void on(int call, std::uint32_t action) {
    note(seccomp_rule_add_array(context_.get(), action, call, 0, nullptr));
  }
  void on(std::span<const int> calls, std::uint32_t action) {
    for (const int call : calls) on(call, action);
  }
  void on(int call, std::uint32_t action, scmp_arg_cmp condition) {
    note(seccomp_rule_add_array(context_.get(), action, call, 1, &condition));
  }
  // Its flags are in memory, where no filter sees them; libc falls back to clone.
  void see_clone_flags() { on(SCMP_SYS(clone3), SCMP_ACT_ERRNO(ENOSYS)); }

  Result<SyscallFilter> build() {
    if (error_ != 0) return fail(Errc::system, "rules of a system call filter", error_);
    const UniqueFd file(memfd_create("weir-filter", MFD_CLOEXEC));
    if (!file.valid()) return fail_errno("memfd for a system call filter");
    if (const int refused = -seccomp_export_bpf(context_.get(), file.get()); refused != 0) {
      return fail(Errc::system, "make a system call filter", refused);
    }
    const off_t bytes = lseek(file.get(), 0, SEEK_END);
    std::vector<sock_filter> program(static_cast<std::size_t>(bytes) / sizeof(sock_filter));
    if (pread(file.get(), program.data(), static_cast<std::size_t>(bytes), 0) != bytes) {
      return fail_errno("read a system call filter");
    }
    return SyscallFilter(std::move(program));
  }

 private:
  void note(int result) {
    if (result != 0 && error_ == 0) error_ = -result;
  }
  std::unique_ptr<void, void (*)(void*)> context_;
  int error_ = 0;
};

Result<SyscallFilter> SyscallFilter::for_serving() {
  SyscallFilterBuilder rules;
  // An attempt is somebody else's code at work: nothing after it can be trusted.
  for (const int call : {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork)}) {
    rules.on(call, SCMP_ACT_KILL_PROCESS);
  }
  rules.on(kTracing, SCMP_ACT_KILL_PROCESS);
  rules.on(SCMP_SYS(clone), SCMP_ACT_KILL_PROCESS,
           first_argument(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
  rules.see_clone_flags();
  rules.on(kNeverNeeded, SCMP_ACT_ERRNO(EPERM));
  rules.on(SCMP_SYS(personality), SCMP_ACT_ERRNO(EPERM));
  rules.on(SCMP_SYS(prctl), SCMP_ACT_ERRNO(EPERM),
           first_argument(SCMP_CMP_MASKED_EQ, UINT32_MAX, PR_SET_DUMPABLE));
  static_assert(AF_UNIX == 1 && AF_INET == 2 && AF_INET6 == 10);
  for (unsigned family = AF_INET + 1; family < AF_INET6; ++family) {
    rules.on(SCMP_SYS(socket), SCMP_ACT_ERRNO(EAFNOSUPPORT), first_argument(SCMP_CMP_EQ, family));
  }
  rules.on(SCMP_SYS(socket), SCMP_ACT_ERRNO(EAFNOSUPPORT), first_argument(SCMP_CMP_GT, AF_INET6));
  return rules.build();
}

Result<SyscallFilter> SyscallFilter::for_child(Sockets sockets, bool reads_only,
                                               bool may_truncate) {
  SyscallFilterBuilder rules;
  rules.on(kNeverNeeded, SCMP_ACT_ERRNO(EPERM));
  if (!kSanitized) {
    rules.on(kTracing, SCMP_ACT_ERRNO(EPERM));
    rules.on(SCMP_SYS(personality), SCMP_ACT_ERRNO(EPERM));
  }
  for (const unsigned flag : kNewNamespaces) {
    rules.on(SCMP_SYS(clone), SCMP_ACT_ERRNO(EPERM),
             first_argument(SCMP_CMP_MASKED_EQ, flag, flag));
  }
  rules.see_clone_flags();
  if (reads_only) rules.on(kMarksOfFiles, SCMP_ACT_ERRNO(EPERM));
  if (!may_truncate) rules.on(SCMP_SYS(truncate), SCMP_ACT_ERRNO(EPERM));
  if (sockets == Sockets::none) rules.on(SCMP_SYS(socket), SCMP_ACT_ERRNO(EACCES));
  if (sockets == Sockets::local) {
    rules.on(SCMP_SYS(socket), SCMP_ACT_ERRNO(EACCES), first_argument(SCMP_CMP_NE, AF_UNIX));
  }
  return rules.build();
}

Result<SyscallFilter> SyscallFilter::for_computing() {
  SyscallFilterBuilder rules(SCMP_ACT_ERRNO(EPERM));
  rules.on(kComputing, SCMP_ACT_ALLOW);
  // abort() and assertions: a signal to itself, whichever is sent to others.
  rules.on(SCMP_SYS(tgkill), SCMP_ACT_ALLOW,
           first_argument(SCMP_CMP_EQ, static_cast<std::uint64_t>(getpid())));
  return rules.build();
}

bool SyscallFilter::available() {
  const std::uint32_t action = SECCOMP_RET_KILL_PROCESS;
  return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int SyscallFilter::put_on(unsigned flags) const {
  const sock_fprog program = {.len = static_cast<unsigned short>(program_.size()),
                              .filter = const_cast<sock_filter*>(program_.data())};
  const long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  return result == 0 ? 0 : result < 0 ? errno : EBUSY;  // positive: a thread that would not follow
}

int SyscallFilter::put_on_this_thread() const {
  return put_on(0);
}

int SyscallFilter::put_on_all_threads() const {
  return put_on(SECCOMP_FILTER_FLAG_TSYNC);
}

}  // namespace weir::io
