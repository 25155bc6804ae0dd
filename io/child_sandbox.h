#pragma once
// ChildSandbox: what the launcher lets its children reach, decided before it is forked, so that
// even a serving process in foreign hands cannot ask for more. Two kinds of children
// (SubprocessSpec::rights): readers (fetches, workers) and writers (pushes with their hooks). Files
// by Landlock, from its second version on; sockets and dangerous system calls by SyscallFilter.
// What the kernel lacks is left out and told by landlock_version() and SyscallFilter::available();
// what it has and refuses fails the spawn. Launcher thread only. Kernel: landlock(7).

#include <string>
#include <vector>

#include "io/error.h"
#include "io/subprocess.h"
#include "io/syscall_filter.h"
#include "io/unique_fd.h"

namespace weir::io {

struct ChildReach {
  std::vector<std::string> read_paths;   // with all that is beneath, also to run; may be missing
  std::vector<std::string> write_paths;  // the same, also to change
  Sockets sockets = Sockets::none;
};

struct SandboxPolicy {
  std::vector<std::string> programs;  // the only ones that are started
  ChildReach readers;
  ChildReach writers;
  std::string write_root;  // SubprocessSpec::write_paths must be folders below it
  // Closed, though beneath a read path: that path is then given piece by piece around them. Does
  // not hold against a path that is named itself.
  std::vector<std::string> hidden_paths;
};

// Of the kernel's Landlock; 0: none, or the first version, under which git cannot move its objects.
int landlock_version();

class ChildSandbox {
 public:
  static Result<ChildSandbox> make(SandboxPolicy policy);

  bool may_run(const std::string& program) const;
  // To be put on with restrict_files(). Invalid where there is no Landlock.
  Result<UniqueFd> file_rules(const SubprocessSpec& spec) const;
  // Null where the kernel has no filters.
  const SyscallFilter* filter(ChildRights rights) const;

 private:
  ChildSandbox(SandboxPolicy policy, std::vector<SyscallFilter> filters)
      : policy_(std::move(policy)), filters_(std::move(filters)) {}
  SandboxPolicy policy_;
  std::vector<SyscallFilter> filters_;  // none, or of readers and writers
};

// Holds for the calling thread and all it starts. 0 or an errno; async-signal-safe.
int restrict_files(int rules_fd);
// The calling thread opens no file any more; done where the kernel has Landlock.
Result<void> restrict_all_files();

}  // namespace weir::io
