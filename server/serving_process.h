#pragma once
// The serving process: builds what all loops share, starts the loops and the admin server, and
// follows the supervisor's messages (reload, drain, stop, new launcher) on the main thread until it
// has drained.

#include <string>

#include "server/config.h"
#include "server/supervisor.h"

namespace weir::server {

// Runs to the end of this process's life; the exit code. `announce`: printed as "ready <announce>"
// once everything listens ("" = not printed).
int run_serving_process(ServingProcessContext context, const Config& config,
                        const std::string& announce);

}  // namespace weir::server
