#pragma once
// The supervisor: the process with the stable pid. It owns the listening sockets, parses nothing
// from the network, has no threads, and keeps one launcher and one serving process running (both
// forked from here, before they have threads). Single-threaded; blocks until the drained serving
// process ended.
//   serving process dies: a new pair starts at once; the old launcher kills its fetch children,
//                         lets finishing pushes end, and exits
//   launcher dies:        a new one; its sockets go to the serving process by the control channel
//   supervisor dies:      the serving process reads the end of its control channel, drains, exits
// Restarts after quick deaths wait: not at all, 100 ms, 200 ms ... 5 s. A serving process that
// exits by itself before its first ControlChannel::send_ready() ends the supervisor with its code.
// SIGHUP: reload. SIGTERM, SIGINT: drain; the second: stop; the third: kill.
// One log event per start and death. Tests: tests/server/supervisor_test.cc.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/child_sandbox.h"
#include "io/clock.h"
#include "server/listen_sockets.h"

namespace weir::server {

inline constexpr io::Duration kQuickDeath = std::chrono::seconds(1);
inline constexpr io::Duration kRestartWaitFirst = std::chrono::milliseconds(100);
inline constexpr io::Duration kRestartWaitMax = std::chrono::seconds(5);

struct SupervisorOptions {
  int loops = 1;                              // launcher sockets to make: one a loop
  ListenSockets sockets;                      // ready-made, sockets.by_loop.size() == loops
  std::optional<io::SandboxPolicy> children;  // of the launchers
  // After the serving process has drained: how long pushes without a client may still finish.
  io::Duration finish_wait = std::chrono::seconds(60);
};

// What a serving process starts with. All descriptors are open and its own; the listening ones are
// shared with the supervisor and must never be shut down.
struct ServingProcessContext {
  int control_fd = -1;            // for ControlChannel
  std::vector<int> launcher_fds;  // for LauncherClient, one a loop
  ListenSockets sockets;
  int metrics_fd = -1;       // for Metrics::attach
  int ticket_keys_fd = -1;   // for TicketKeys::open_shared
  std::uint32_t starts = 0;  // 0 for the first serving process, 1 after its first restart, ...
  std::int64_t supervisor_started_unix_ns = 0;
};

// How long a process waits to be started again whose last `quick_deaths` lives were all short.
io::Duration restart_wait(int quick_deaths);

// Runs until told to end; returns the exit code. `serving_main` runs in each serving process, which
// ends with what it returns (by _exit: it must flush what it wants kept). There SIGHUP, SIGINT,
// SIGTERM and SIGPIPE are ignored, no_new_privs is set and the process is not dumpable.
int supervise(SupervisorOptions options,
              const std::function<int(ServingProcessContext)>& serving_main);

}  // namespace weir::server
