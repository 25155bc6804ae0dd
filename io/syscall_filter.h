#pragma once
// SyscallFilter: a seccomp program that takes system calls away from a process and from all that it
// starts, for good. Mostly a deny list (docs/decisions names why): what no part of Weir or git
// needs. Made
// once with libseccomp; put on with a plain system call, so that it works between clone and execve.
// Calls by another architecture's numbers (i386, x32) end the process. Immutable; any thread.

#include <linux/filter.h>

#include <cstdint>
#include <vector>

#include "io/error.h"

namespace weir::io {

// Which sockets a child may make. Those it was given work in any case.
enum class Sockets : std::uint8_t { none, local, any };  // local: AF_UNIX

class SyscallFilter {
 public:
  // For the serving process, once its rings are made: no program, no child, no other process's
  // memory (each ends the process), no new io_uring, no mounts, namespaces, modules, keys (EPERM).
  static Result<SyscallFilter> for_serving();
  // For the launcher's children. No sockets but `sockets` (EACCES), nor an io_uring to make them
  // with. `reads_only`: nor a change of modes, owners, times, attributes, which Landlock leaves be.
  static Result<SyscallFilter> for_child(Sockets sockets, bool reads_only, bool may_truncate);
  // For a process that computes and answers over sockets it has: a list of what is allowed, without
  // anything that opens, connects, starts or traces (all else EPERM).
  static Result<SyscallFilter> for_computing();
  // Whether the kernel has such filters.
  static bool available();

  // Both return 0 or an errno and need no_new_privs.
  int put_on_this_thread() const;  // async-signal-safe
  int put_on_all_threads() const;

 private:
  explicit SyscallFilter(std::vector<sock_filter> program) : program_(std::move(program)) {}
  friend class SyscallFilterBuilder;
  int put_on(unsigned flags) const;
  std::vector<sock_filter> program_;
};

// Sanitizers start a symbolizer, and at exit a thread-like process that traces all others: in such
// builds the serving process goes without its filter, children without what concerns that.
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace weir::io
