#pragma once
// Simulation: one run of clients against one server on one loop in virtual time, all of it drawn
// from a seed: Weir's own sockets, TLS, sessions, exchanges and clients on a SimulatedBackend. What
// must hold is checked on the way and at the end; what did not hold is in `violations`. A run that
// does not come to its end within its bounds ends the process with what was still alive.

#include <string>
#include <vector>

#include "tests/sim/script.h"
#include "tests/sim/sim_clients.h"

namespace weir::sim {

struct Outcome {
  std::vector<std::string> violations;
  std::uint64_t trace = 0;
  std::size_t requests = 0;
  std::size_t completed = 0;  // answers seen whole by a client
  std::uint64_t turns = 0;
  std::uint64_t recvs_parked = 0;
  std::uint64_t submits_deferred = 0;
  io::Duration virtual_time{};
};

Outcome simulate(std::uint64_t seed, const TlsContexts& tls);

}  // namespace weir::sim
