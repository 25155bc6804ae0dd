#pragma once
// Pipeline: the way of every request on one loop, in one place: classify -> authenticate ->
// authorize -> locate -> admit -> handler -> settle, then one log record. Each stage is a type of
// its own and may wait. Rights are checked by name before the disk is looked at, so that an answer
// to somebody without rights does not depend on what exists; see
// docs/decisions/0002-rights-before-disk.md. One per loop; it owns the coroutines of its requests.
// Loop thread only, but for live().

#include <cstdint>
#include <memory>
#include <string_view>

#include "git/service_call.h"
#include "http/exchange.h"
#include "io/task_scope.h"
#include "server/admission.h"
#include "server/authenticator.h"
#include "server/live_requests.h"
#include "server/locator.h"
#include "server/maintenance_schedule.h"
#include "server/policy.h"
#include "server/request.h"
#include "server/request_metrics.h"
#include "server/session_records.h"

namespace weir::server {

// What all loops share; outlives every pipeline.
struct SharedStages {
  Authenticator& authenticator;
  Locator& locator;
  AdmissionDoor& admission;
  RequestMetrics& metrics;
  const io::Clock& clock;
  MaintenanceSchedule* maintenance = nullptr;  // told of pushes
};

class Pipeline final : public http::ExchangeHandler {
 public:
  Pipeline(io::EventLoop& loop, SharedStages shared, git::GitEnvironment environment,
           std::shared_ptr<const Policy> policy);

  void on_exchange(http::Exchange& exchange) override;
  http::HeadLimits head_limits(std::string_view method, std::string_view target) override;
  void on_refused(const io::StreamInfo& peer, int status, std::string_view reason) override;

  void set_policy(std::shared_ptr<const Policy> policy);
  const std::shared_ptr<const Policy>& policy() const { return policy_; }
  // About once a second.
  void housekeeping();
  LiveRequests& live() { return live_; }
  // Requests being served; the loop may end when it is 0.
  std::int64_t running() const { return scope_.running(); }
  io::Task<void> join() { return scope_.join(); }

 private:
  io::Task<void> serve(http::Exchange& exchange);
  io::Task<void> answer(Request& request, std::shared_ptr<const Policy> policy);
  io::Task<bool> identify(Request& request, const Policy& policy);
  io::Task<bool> locate(Request& request, const Policy& policy);
  io::Task<void> answer_unauthorized(Request& request, Authorization why, const Policy& policy);
  io::Task<void> git_info_refs(Request& request);
  io::Task<void> git_service(Request& request, std::shared_ptr<const Policy> policy);
  io::Task<std::shared_ptr<const git::RefSnapshot>> validated_snapshot(Request& request);
  void record(Request& request);

  io::EventLoop& loop_;
  SharedStages shared_;
  git::GitEnvironment environment_;
  std::shared_ptr<const Policy> policy_;
  SessionRecords sessions_;
  VerifiedTokens verified_;
  LiveRequests live_;
  io::TaskScope scope_;
};

}  // namespace weir::server
