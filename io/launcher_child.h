#pragma once
// What the launcher does between clone and execve. The child shares the launcher's memory until its
// execve (the launcher waits), so a failure is told through ChildStart, and only system calls are
// made.

#include <sys/types.h>

#include <span>

#include "io/child_sandbox.h"
#include "io/error.h"
#include "io/subprocess.h"
#include "io/unique_fd.h"

namespace weir::io {

struct StartedChild {
  pid_t pid = -1;
  UniqueFd pidfd;
};

struct ChildStartError {
  int sys_errno;
  const char* step;  // static: the call that failed
};

// Starts the program of `spec`. `descriptors`: for the child's 0, 1, [2], [3]; all above 3.
// `sandbox`: null for none.
std::expected<StartedChild, ChildStartError> start_child(const SubprocessSpec& spec,
                                                         std::span<const int> descriptors,
                                                         const ChildSandbox* sandbox);

}  // namespace weir::io
