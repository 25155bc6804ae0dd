#pragma once
// The launcher: a small process, forked before threads, rings and big memory exist, that makes
// every child of the server (a fork of a serving process would stall it 12 ms per GB).
// Single-threaded, one poll(2) loop; client sockets carry io/launcher_protocol.h, one a loop of the
// serving process. Children get their own process group and session-less stdio from passed
// descriptors, nothing else open, default signals, limits, no_new_privs, a sandbox, oom_score_adj
// +500, and are reaped with their costs. Bounded: kChildrenPerClientMax children a client; replies
// wait for a slow client, whose requests are then not read. A client that breaks the protocol is
// treated as dead.

#include <optional>
#include <vector>

#include "io/child_sandbox.h"

namespace weir::io {

// Takes over the process. The end of a client's stream kills its children (their whole process
// groups) but those marked as finishing, whose output is read to nowhere. Exits when no client, no
// control end (-1: none) and no child is left. Closes all other descriptors but 0, 1 and 2. Without
// a policy children reach what its user may.
[[noreturn]] void run_launcher(std::vector<int> client_sockets, int control_fd,
                               std::optional<SandboxPolicy> policy = std::nullopt);

}  // namespace weir::io
