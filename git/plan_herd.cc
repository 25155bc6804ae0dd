#include "git/plan_herd.h"

#include <optional>
#include <utility>

namespace weir::git {
namespace {

// Another try may go better: nothing was found out about the repository or the request.
bool may_be_tried_again(const io::Result<Planned>& result) {
  if (!result) return result.error().code != io::Errc::limit;  // others wait for a place as well
  const PlanReply& reply = *result->reply;
  return reply.status == PlanStatus::failed ||
         (reply.status == PlanStatus::fallback && reply.reason == FallbackReason::planner);
}

// An end that was not of the asker's making: real git answers.
Planned fallback(const io::Error& error) {
  auto reply = std::make_shared<PlanReply>();
  reply->status = PlanStatus::fallback;
  reply->reason =
      error.code == io::Errc::deadline_exceeded ? FallbackReason::budget : FallbackReason::planner;
  reply->problem = io::to_string(error);
  return {std::move(reply), nullptr};
}

}  // namespace

struct PlanHerd::Waiter : io::ListNode<Waiter> {
  Planner planner;
  io::Deadline deadline;
  bool led = false;  // its planner was taken
  io::Signal signal;
};

struct PlanHerd::Flight {
  PlanKeys keys;
  std::shared_ptr<const Repository> repository;
  io::IntrusiveList<Waiter> waiters;
  std::size_t waiting = 0;
  io::StopSource stop;
  std::optional<io::Result<Planned>> result;
};

PlanHerd::PlanHerd(io::EventLoop& loop, std::size_t cache_bytes_max)
    : cache_(loop, cache_bytes_max) {
  io::Metrics& metrics = io::Metrics::instance();
  constexpr const char* kAnswers = "weir_recipe_cache_answers_total";
  constexpr const char* kAnswersHelp = "Requests for plans, by what was known of them.";
  misses_ = metrics.counter(kAnswers, "result=\"miss\"", kAnswersHelp);
  coalesced_ = metrics.counter(kAnswers, "result=\"coalesced\"", kAnswersHelp);
  refused_ = metrics.counter(kAnswers, "result=\"refused\"", kAnswersHelp);
  waiters_gauge_ = metrics.gauge("weir_plan_waiters", "", "Requests that wait for a plan.");
}

io::Task<io::Result<Planned>> PlanHerd::plan(std::shared_ptr<const Repository> repository,
                                             PlanKeys keys, Planner planner, io::StopToken stop,
                                             io::Deadline deadline) {
  if (std::optional<Planned> known = cache_.find(keys)) co_return std::move(*known);
  const auto [found, first] = flights_.try_emplace(keys.seen);
  if (first) found->second = std::make_shared<Flight>();
  const std::shared_ptr<Flight> flight = found->second;
  if (flight->waiting >= kPlanWaitersMax) {
    refused_.add();
    co_return io::fail(io::Errc::limit, "too many wait for this plan");
  }
  (first ? misses_ : coalesced_).add();

  Waiter self;
  self.planner = std::move(planner);
  self.deadline = deadline;
  flight->waiters.push_back(self);
  ++flight->waiting;
  waiters_gauge_.add(1);
  if (first) {
    flight->keys = keys;
    flight->repository = std::move(repository);
    scope_.spawn(fly(flight));
  }
  const io::Result<void> waited = co_await self.signal.wait(stop, deadline);
  waiters_gauge_.add(-1);
  if (flight->result) co_return *flight->result;
  self.unlink();
  if (--flight->waiting == 0) {
    // Who comes from here on begins anew.
    flights_.erase(flight->keys.seen);
    flight->stop.request_stop();
  }
  co_return std::unexpected(waited.error());
}

io::Task<void> PlanHerd::fly(std::shared_ptr<Flight> flight) {
  const io::StopToken stop(flight->stop);
  io::Result<Planned> result;
  Planner planner;
  for (int attempt = 0; attempt < 2; ++attempt) {
    Waiter* leader = flight->waiters.first();  // who led before is still in front, or has left
    if (leader != nullptr && leader->led) leader = flight->waiters.next(*leader);
    if (leader == nullptr) break;
    leader->led = true;
    planner = std::move(leader->planner);
    result = co_await planner(stop, leader->deadline);
    if (!may_be_tried_again(result) || stop.stopped()) break;
  }
  if (!result && result.error().code != io::Errc::limit) result = fallback(result.error());
  if (result && !stop.stopped()) cache_.remember(flight->keys, *flight->repository, *result);
  if (!stop.stopped()) flights_.erase(flight->keys.seen);
  flight->result = std::move(result);
  while (!flight->waiters.empty()) flight->waiters.pop_front().signal.notify();
}

io::Task<void> PlanHerd::close() {
  const auto flights = std::exchange(flights_, {});
  for (const auto& [key, flight] : flights) flight->stop.request_stop();
  co_await scope_.join();
  cache_.clear();
}

}  // namespace weir::git
