#pragma once
// Confinement: what the processes of the server may reach, and what of that the running kernel
// enforces. Children: a policy for the launcher, made from the configuration before any process is
// forked. The serving process: a system call filter, put on once its rings exist and before
// anything listens. Start-up only.

#include <string>
#include <vector>

#include "io/child_sandbox.h"
#include "server/config.h"

namespace weir::server {

// Of fetches, workers, pushes and hooks. `weir_path`: our own program, which workers run.
io::SandboxPolicy children_policy(const Config& config, const std::string& weir_path);

struct ConfinementPart {
  const char* name;  // "children_landlock"
  int value;         // 0: not in force; of Landlock its version
};

// Puts the filter on every thread of the calling process, logs what is in force and counts it
// (weir_confinement). A kernel without the means is a warning, not a reason not to serve.
std::vector<ConfinementPart> confine_serving_process();

}  // namespace weir::server
