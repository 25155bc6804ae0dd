#pragma once
// ServiceCall: what one smart-HTTP POST needs of its surroundings, filled in by the server after
// the request was classified, located, authenticated, authorised and admitted. And GitEnvironment:
// what is the same for all calls of a loop. Plain values and borrowed references; loop thread only.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "git/ref_snapshot.h"
#include "git/repository.h"
#include "io/blocking_pool.h"
#include "io/byte_budget.h"
#include "io/byte_channel.h"
#include "io/clock.h"
#include "io/stop_token.h"
#include "io/subprocess.h"

namespace weir::git {

class FetchPlanMetrics;
class PlanSource;
class ProcessSlots;
class PushJournal;
class RefStore;
class SyncCoalescer;
class WorkerPool;

struct GitLimits {
  std::uint64_t fetch_request_bytes_max = 8UL * 1024 * 1024;  // inflated negotiation body
  std::uint64_t push_commands_bytes_max = 4UL * 1024 * 1024;  // ~30,000 commands
  std::uint64_t push_bytes_max = 4UL * 1024 * 1024 * 1024;    // whole body of one push
  io::Duration push_time_max = std::chrono::minutes(15);
  io::Duration want_check_time_max = std::chrono::seconds(30);
  io::Duration keepalive = std::chrono::seconds(5);
  io::Duration plan_time_max = std::chrono::seconds(10);  // of a fetch; then git answers it
  // Of a fetch's child; while it makes a pack, git speaks every few seconds.
  io::Duration fetch_silence_max = std::chrono::minutes(15);
  io::Duration slot_wait_max = std::chrono::seconds(60);  // then the client is told to come back
};

// One per loop; what it points at outlives every call. Thread-safe parts are shared by all loops.
struct GitEnvironment {
  std::string git_path;         // absolute path of the git binary
  std::string git_config_path;  // Weir's own global config file (safe.directory and so on)
  std::string push_cert_seed;   // secret; "" = signed pushes are not offered
  GitLimits limits;
  io::Spawner* launcher;
  WorkerPool* workers;
  RefStore* refs;                          // shared
  ProcessSlots* fetch_slots;               // shared
  ProcessSlots* push_slots;                // shared
  io::ByteBudget* requests_held;           // shared: bodies that are kept whole while they are read
  io::ByteBudget* answers_held = nullptr;  // shared: what planned answers read ahead
  SyncCoalescer* sync;                     // shared
  PushJournal* journal;                    // shared
  io::BlockingPool* blocking;              // shared
  PlanSource* planners = nullptr;          // null: git answers every fetch
  const FetchPlanMetrics* plan_metrics = nullptr;  // shared; null: not counted
};

struct ServiceCall {
  GitEnvironment& environment;
  std::shared_ptr<const Repository> repository;
  std::shared_ptr<const RefSnapshot> snapshot;  // valid since the request's head arrived
  int protocol_version = 0;                     // 0, 1 or 2 as negotiated by Git-Protocol
  std::string request_id;                       // in every text a user sees
  std::string trace_parent;                     // W3C traceparent, for GIT_TRACE2_PARENT_SID
  std::string remote_user;                      // "" for anonymous
  std::string remote_address;
  // What was advertised to this session a short while ago (a ref may move between GET and POST), or
  // null.
  std::shared_ptr<const RefSnapshot> shown;
  io::ByteSource& body;  // inflated, bounded
  io::ByteSink& answer;
  io::StopToken stop;  // fires when the client is gone
};

enum class Ended : std::uint8_t {
  completed,
  refused,  // answered in the protocol's own form (ERR, ng); nothing failed on our side
  client_gone,
  failed,  // a child or a worker failed; the user was told where that was possible
};

struct ServiceOutcome {
  Ended ended = Ended::completed;
  bool cut = false;       // the answer must not end cleanly: abort the exchange
  std::string detail;     // for the log: no secrets
  std::string operation;  // "ls-refs", "fetch", "push", ...
  std::string plan;       // of a fetch: "planned", or why git answered it
  std::uint64_t child_cpu_us = 0;
  std::uint64_t child_rss_bytes_max = 0;
  io::Duration slot_wait{};
};

// POST git-upload-pack: v0/v1/v2 requests; ls-refs and empty probes are answered natively, fetches
// from a plan or by `git upload-pack` in a slot. The answer is written to call.answer, errors
// included.
io::Task<ServiceOutcome> serve_upload_pack(ServiceCall& call);
// POST git-receive-pack: acknowledged means durable and visible to the next snapshot.
io::Task<ServiceOutcome> serve_receive_pack(ServiceCall& call);

// The nonce of signed pushes for a session that starts now; "" when the seed is empty.
std::string push_cert_nonce(const GitEnvironment& environment, const Repository& repository,
                            ObjectFormat format, std::int64_t unix_s);

}  // namespace weir::git
