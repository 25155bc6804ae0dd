#pragma once
// PipelineScript: what a simulated run of the request pipeline does, drawn from its seed: clients,
// what they ask, what becomes of the git child that answers, and the faults of everything between:
// network, pool, workers, token store, launcher, syncs. Requests also collect what was seen of
// them. Plain data, owned by the run.

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/sim_clients.h"
#include "tests/sim/sim_repositories.h"

namespace weir::sim {

enum class AskKind : std::uint8_t {
  advertise,  // GET info/refs for a fetch
  advertise_push,
  ls_refs,
  fetch,
  push,
  probe,    // a body that asks for nothing
  refused,  // one of refusals()
};
inline constexpr std::uint64_t kAskKinds = 7;

enum class Who : std::uint8_t { nobody, reader, writer, stranger, liar };

enum class Want : std::uint8_t { advertised, reachable, hidden };

// What a client sees when a push or fetch goes the way of `fate` is in the judge.
enum class ChildFate : std::uint8_t {
  well,
  ends_badly,     // says all, then exits with an error
  dies,           // by a signal, in the middle of its output
  cut_short,      // exits well in the middle of a packet
  babbles,        // what it says are no packets
  falls_silent,   // in the middle of its output, until it is killed
  refuses,        // says why, exits with an error (fetch); declines the ref, exits well (push)
  reads_nothing,  // fails before it has read its input
  lingers,        // says all, and does not exit until it is killed
};
inline constexpr std::uint64_t kChildFates = 9;

struct ChildScript {
  ChildFate fate = ChildFate::well;
  bool cannot_start = false;
  io::Duration starts_in{};
  io::Duration dies_in{};  // after SIGKILL
  io::Duration thinks{};   // between its input and its output
  io::Duration stalls{};   // once, at turn_per_mille of its output
  std::uint64_t turn_per_mille = 0;
  std::size_t piece_bytes_max = 1;
  std::size_t chatter_bytes = 0;  // on stderr
  int exit_code = 1;
  bool moves_first = false;  // a push that fails has moved its ref before it does
  bool leaves_lock = false;  // and not removed a lock
  bool sound() const { return fate == ChildFate::well && !cannot_start; }
};

struct Refusal {
  const char* method;
  const char* path;
  Who who;
  const char* field;  // "name: value", or null
  int status;
};
const std::vector<Refusal>& refusals();

struct Ask {
  std::size_t number = 0;
  AskKind kind = AskKind::advertise;
  Who who = Who::nobody;
  bool moving = false;  // of acme/moving.git
  int version = 0;
  bool sideband = true;
  bool report = true;
  Want want = Want::advertised;
  std::size_t pack_bytes = 0;
  bool cut_body = false;  // of a push: it ends within its commands
  bool gzip = false;
  bool chunked = false;
  bool expect = false;
  bool token_in_agent = false;
  ReadingStyle style = ReadingStyle::collect;
  io::Duration pause{};
  const Refusal* refusal = nullptr;
  ChildScript child;

  std::string ref() const { return "refs/heads/p" + std::to_string(number); }

  // What was seen.
  std::string body;  // before any coding
  int handled = 0;
  bool client_ended = false;
  int children = 0;
  std::uint64_t moved_at = 0;  // the number of the event; 0: its ref was not moved
  bool reported = false;       // its child has said all
};

struct WorkerFaults {
  io::Duration delay_max{};
  std::uint64_t dies_odds = 0;
  std::uint64_t babbles_odds = 0;
  std::uint64_t silent_odds = 0;
};

struct PipelineScript {
  io::SimulatedFaults faults;
  // Nothing but children and the network fails, and there is room for everybody.
  bool roomy = false;
  std::deque<Ask> asks;
  std::vector<ClientScript> clients;
  std::optional<io::Duration> drain_after;
  std::optional<io::Duration> policy_after;
  std::optional<io::Duration> launcher_dies_after;
  io::Duration launcher_absent{};

  std::uint32_t requests_max = 1000;
  int slots = 64;
  std::size_t slots_waiting_max = 64;
  io::Duration slot_wait_max = std::chrono::seconds(60);
  std::uint64_t held_bytes_max = 64UL << 20;
  io::Duration pool_delay_max{};
  std::uint64_t pool_full_odds = 0;
  io::Duration token_delay_max{};
  std::uint64_t token_unavailable_odds = 0;
  WorkerFaults worker;
  bool sync_fails = false;
  bool plans = false;  // fetches may be planned
  std::uint64_t plans_seed = 0;
  std::uint64_t answers_held_bytes_max = 64UL << 20;
  bool by_generation = false;  // validity of refs
  // The server's clock against the file system's: behind it no stamp is trusted, far ahead all are.
  bool clock_behind = true;
};

PipelineScript draw_pipeline_script(io::SeededRandom& random);
std::string describe(const Ask& ask);

// The body of a request (uncoded), and what its child answers if all is well.
std::string body_of(const Ask& ask, const SimRepositories& repositories);
std::string answer_of(const Ask& ask);
std::string gzip_stored(std::string_view bytes);

}  // namespace weir::sim
