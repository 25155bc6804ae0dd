#pragma once
// NativeFetch: a fetch that needs no git: which requests may be planned, the plan, and the
// conversation around the recipe's bytes. Whatever is not planned goes to `git upload-pack`, each
// reason counted. The wants were checked before. One request; loop thread. Formats:
// gitprotocol-v2(5) "fetch", gitprotocol-pack(5) "Packfile Negotiation"; what git does where they
// are silent: upload-pack.c.

#include <array>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "git/fetch_plan.h"
#include "git/fetch_request.h"
#include "git/service_call.h"
#include "io/clock.h"
#include "io/metrics.h"
#include "io/task.h"

namespace weir::git {

// Made once, before loops run; shared by them.
class FetchPlanMetrics {
 public:
  FetchPlanMetrics();
  // `reason` none: planned.
  void count(FallbackReason reason) const { results_[static_cast<std::size_t>(reason)].add(); }
  void took(io::Duration time) const { seconds_.observe(time); }

 private:
  std::array<io::Counter, kFallbackReasons> results_;
  io::Histogram seconds_;
};

// What that filter leaves out, or nothing where plans do not know it, or git reads it in ways of
// its own (escapes, octal numbers).
std::optional<ObjectFilter> parse_object_filter(std::string_view filter);

// What to plan for a request, or why its form alone sends it to git.
std::expected<PlanRequest, FallbackReason> plan_request(const FetchRequest& fetch,
                                                        int protocol_version);

// Answers `fetch` if it can be planned: then none, and `outcome` says how that ended. Else git is
// to answer it. `said`: the begin of the answer, which has been sent already (a keep-alive needs
// it); git will say it too.
io::Task<FallbackReason> serve_native_fetch(ServiceCall& call, const FetchRequest& fetch,
                                            ServiceOutcome& outcome, std::string& said);

}  // namespace weir::git
