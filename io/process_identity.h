#pragma once
// Which process a pid means, and which program we are. Of pids: pids are used again, (pid,
// start_ticks) is not. Journals store the pair, so that after a crash a live process is never taken
// for a dead child, nor the other way round.

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace weir::io {

// Field 22 of /proc/<pid>/stat: clock ticks after boot; 0 if there is no such process.
std::uint64_t process_start_ticks(pid_t pid);

// Whether this very process still runs. A zombie counts as ended.
bool process_runs(pid_t pid, std::uint64_t start_ticks);

// Absolute path of the program that we run.
std::string own_program();

}  // namespace weir::io
