#pragma once
// Request: one request on its way through the pipeline: what each stage found out, for the stages
// after it, the log record and the metrics. Lives in the coroutine that serves it; loop thread
// only.

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "git/repository.h"
#include "http/exchange.h"
#include "io/clock.h"
#include "server/live_requests.h"
#include "server/principal.h"
#include "server/router.h"
#include "server/trace_context.h"

namespace weir::server {

// Where the time of a request went; each phase ends when the next begins.
enum class Phase : std::uint8_t { identify, locate, validate, serve, count };

struct Request {
  explicit Request(http::Exchange& served) : exchange(served) {}

  http::Exchange& exchange;
  std::string id;
  TraceContext trace;
  std::string client_address;  // after PROXY v2 and X-Forwarded-For
  Route route;
  Principal principal;
  std::shared_ptr<const git::Repository> repository;
  LiveRequest live;

  // What the log says about it.
  int status = 0;
  std::string operation;           // "info-refs", "ls-refs", "fetch", "push", ...
  std::string_view decision = "";  // static: "served", "no_push_right", "unknown_repository", ...
  std::string plan;                // of a fetch: "planned", or why git answered it
  std::string detail;              // why something failed; never a secret
  std::uint64_t repository_generation = 0;
  std::uint64_t child_cpu_us = 0;
  std::uint64_t child_rss_bytes_max = 0;
  io::Duration slot_wait{};
  bool cut = false;
  std::array<io::Duration, static_cast<std::size_t>(Phase::count)> phases{};
  io::Instant phase_began{};

  void phase_ends(Phase phase, io::Instant now) {
    phases[static_cast<std::size_t>(phase)] += now - phase_began;
    phase_began = now;
  }
};

}  // namespace weir::server
