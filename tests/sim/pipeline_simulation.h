#pragma once
// PipelineSimulation: one run of clients against Weir's whole request pipeline on one loop in
// virtual time, drawn from a seed: sockets, TLS, sessions, Pipeline with all of its stages, ref
// store, worker pool, fetch and push services, journal and log are the product's own; the network,
// pipes, children, pool threads and syncs are simulated. Repositories are real. What must hold is
// checked on the way and at the end; what did not hold is in `violations`. A run that does not come
// to its end within its bounds ends the process with what was still alive.

#include "tests/sim/git_children.h"

namespace weir::sim {

struct PipelineOutcome {
  std::vector<std::string> violations;
  std::string log;
  std::uint64_t trace = 0;
  std::size_t asks = 0;
  std::size_t handled = 0;    // reached the pipeline
  std::size_t completed = 0;  // answers seen whole by a client
  std::size_t served = 0;     // of these, what was asked for
  std::size_t children = 0;
  std::size_t acknowledged = 0;  // pushes
  std::size_t planned = 0;       // fetches without a child
  std::uint64_t turns = 0;
  io::Duration virtual_time{};
};

PipelineOutcome simulate_pipeline(std::uint64_t seed, const TlsContexts& tls,
                                  SimRepositories& repositories);

}  // namespace weir::sim
