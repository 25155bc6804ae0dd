#include "git/planner_pool.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "git/loop_waiter.h"
#include "git/open_repositories.h"
#include "git/plan_herd.h"
#include "git/planner.h"
#include "io/byte_budget.h"
#include "io/check.h"
#include "io/metrics.h"
#include "io/task_scope.h"

namespace weir::git {
namespace {

constexpr io::Duration kCloseGrace = std::chrono::seconds(5);
// A planner stops by itself when a plan's time is over; it is killed this much later.
constexpr io::Duration kOverrunGrace = std::chrono::milliseconds(500);

// Larger recipes are freed on a pool thread: about 50 us a MiB.
constexpr std::size_t kFreedHereBytesMax = 1024UL * 1024;

struct Counters {
  io::Counter plans =
      io::Metrics::instance().counter("weir_planner_plans_total", "", "Plans asked of planners");
  io::Counter retries = io::Metrics::instance().counter(
      "weir_planner_retries_total", "", "Plans asked again of a fresh planner after one died");
  io::Counter refused = io::Metrics::instance().counter(
      "weir_planner_refused_total", "", "Plans that found the queue of a loop's planners full");
  io::Gauge in_flight =
      io::Metrics::instance().gauge("weir_planner_plans_in_flight", "", "Plans being made");
  io::Gauge waiting =
      io::Metrics::instance().gauge("weir_planner_waiting", "", "Plans that wait for a planner");
  io::Histogram cpu = io::Metrics::instance().histogram(
      "weir_planner_cpu_seconds", "", "Processor time of a plan, as its planner says",
      std::chrono::microseconds(32));
};

const Counters& counters() {
  static const Counters instance;
  return instance;
}

Planned answered(PlanStatus status, FallbackReason reason, const char* problem,
                 std::shared_ptr<const RepositoryFiles> files = nullptr) {
  auto reply = std::make_shared<PlanReply>();
  reply->status = status;
  reply->reason = reason;
  reply->problem = problem;
  return {.reply = std::move(reply), .files = std::move(files)};
}

Planned fallback(FallbackReason reason, const char* problem) {
  return answered(PlanStatus::fallback, reason, problem);
}

bool ends_the_wait(io::Errc code) {
  return code == io::Errc::cancelled || code == io::Errc::deadline_exceeded;
}

// Adds to a gauge for as long as it lives.
class Counted {
 public:
  explicit Counted(io::Gauge gauge) : gauge_(gauge) { gauge_.add(1); }
  ~Counted() { gauge_.add(-1); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  io::Gauge gauge_;
};

// A reply that is let go of, on any loop, gives back what it held of the budget. Null: nothing is
// left of it.
std::shared_ptr<const PlanReply> held(const std::shared_ptr<io::ByteBudget>& budget,
                                      PlanReply reply) {
  struct Held {
    std::shared_ptr<io::ByteBudget> budget;  // in front: outlives the share
    io::ByteBudget::Share share;
    PlanReply reply;
  };
  const std::size_t ids = reply.shallow.size() + reply.unshallow.size() + reply.common.size();
  const std::uint64_t bytes = reply.recipe.memory_bytes() + ids * sizeof(ObjectId);
  std::shared_ptr<Held> made(new Held{budget, io::ByteBudget::Share(*budget), std::move(reply)});
  if (!made->share.grow(bytes)) return nullptr;
  return {made, &made->reply};
}

// One plan(), shared by the coroutine that waits and the one that works for it, on the owner's
// loop: whoever comes last finds it alive.
struct Call {
  std::shared_ptr<const Repository> repository;
  std::shared_ptr<const RefSnapshot> snapshot;
  PlanRequest request;
  io::Deadline deadline;
  std::string tips_digest;                    // of what the snapshot shows
  std::optional<PlannerPacket> tips;          // if it had to be made for the digest
  LoopWaiter waiter;                          // of the asker's loop
  io::StopSource given_up;                    // of the owner's
  std::optional<io::Result<Planned>> result;  // written before the waiter is woken
};

}  // namespace

struct PlannerPool::Impl {
  using Entry = std::shared_ptr<OpenRepositories::Entry>;

  Impl(io::EventLoop& its_loop, io::Spawner& launcher, io::BlockingPool& its_blocking,
       PlannerDirectory& its_directory, PlannerPoolOptions its_options)
      : loop(its_loop),
        blocking(its_blocking),
        directory(its_directory),
        options(std::move(its_options)),
        recipes_held(std::make_shared<io::ByteBudget>("recipes", options.recipes_held_bytes_max)),
        herd(loop, options.recipe_cache_bytes_max),
        repositories(
            loop, blocking, options.roots,
            [this](const RepositoryId& id, const RepositoryFiles& old, const RepositoryFiles* now) {
              for (const auto& planner : planners) planner->forget(old.number());
              herd.cache().files_changed(id, now);
            }) {
    counters();
    repositories.set_files_max(options.open_files_max);
    for (int i = 0; i < std::max(1, options.planners); ++i) {
      planners.push_back(std::make_unique<Planner>(loop, launcher, blocking, options));
    }
  }

  // A repository's plans stick to one planner: its views stay warm. (The directory uses the hash's
  // lower part.)
  Planner& planner_of(const Repository& repository) {
    return *planners[(RepositoryIdHash{}(repository.id) >> 32) % planners.size()];
  }

  void accept(std::shared_ptr<Call> call);
  io::Task<void> run(std::shared_ptr<Call> call);
  io::Task<io::Result<Planned>> answer(std::shared_ptr<Call> call, io::StopToken stop);
  io::Task<io::Result<void>> learn_digest(const Entry& entry, Call& call, io::StopToken stop);
  io::Task<io::Result<PlanKeys>> keys_of(const Call& call);
  // Whatever is known; `call` is one of those who wait for it.
  io::Task<io::Result<Planned>> plan_anew(std::shared_ptr<Call> call, Entry entry,
                                          io::StopToken stop, io::Deadline deadline);
  // With `files`; a planner that dies is replaced once.
  io::Task<io::Result<Planned>> ask(Call& call, Entry entry, OpenRepositories::Files files,
                                    io::StopToken stop, io::Deadline deadline);

  io::EventLoop& loop;
  io::BlockingPool& blocking;
  PlannerDirectory& directory;
  const PlannerPoolOptions options;
  const std::shared_ptr<io::ByteBudget> recipes_held;  // replies may outlive the pool
  std::vector<std::unique_ptr<Planner>> planners;
  PlanHerd herd;
  OpenRepositories repositories;
  bool closing = false;
  io::TaskScope calls;
};

PlannerPool& PlannerDirectory::owner(const RepositoryId& id) const {
  WEIR_CHECK(!pools_.empty());
  return *pools_[RepositoryIdHash{}(id) % pools_.size()];
}

PlannerPool::PlannerPool(io::EventLoop& loop, io::Spawner& launcher, io::BlockingPool& blocking,
                         PlannerDirectory& directory, PlannerPoolOptions options)
    : impl_(std::make_unique<Impl>(loop, launcher, blocking, directory, std::move(options))) {
  directory.add(*this);
}

PlannerPool::~PlannerPool() = default;

io::Task<io::Result<Planned>> PlannerPool::plan(std::shared_ptr<const Repository> repository,
                                                std::shared_ptr<const RefSnapshot> snapshot,
                                                PlanRequest request, io::StopToken stop,
                                                io::Deadline deadline) {
  Impl& owner = *impl_->directory.owner(repository->id).impl_;
  auto call = std::make_shared<Call>();
  call->repository = std::move(repository);
  call->snapshot = std::move(snapshot);
  call->request = std::move(request);
  call->deadline = deadline;
  if (&owner == impl_.get()) {
    owner.accept(call);
  } else {
    owner.loop.post([&owner, call] { owner.accept(call); });
  }
  const io::Result<void> woken = co_await call->waiter.signal.wait(stop, deadline);
  if (woken) co_return std::move(*call->result);
  owner.loop.post([call] { call->given_up.request_stop(); });
  co_return std::unexpected(woken.error());
}

void PlannerPool::Impl::accept(std::shared_ptr<Call> call) {
  if (closing || calls.running() >= static_cast<std::int64_t>(kPlanCallsMax)) {
    if (closing) {
      call->result = fallback(FallbackReason::planner, "the planners have ended");
    } else {
      counters().refused.add();
      call->result = io::fail(io::Errc::limit, "planner queue");
    }
    return LoopWaiter::wake({call, &call->waiter});
  }
  calls.spawn(run(std::move(call)));
}

io::Task<void> PlannerPool::Impl::run(std::shared_ptr<Call> call) {
  call->result = co_await answer(call, io::StopToken(call->given_up));
  LoopWaiter::wake({call, &call->waiter});
}

io::Task<io::Result<Planned>> PlannerPool::Impl::answer(std::shared_ptr<Call> call,
                                                        io::StopToken stop) {
  const Entry entry = repositories.find(call->repository, call->snapshot->format());
  // Also if the answer is known: what git has deleted is not to be held for its sake.
  repositories.look_if_due(entry);
  const auto learned = co_await learn_digest(entry, *call, stop);
  if (!learned && ends_the_wait(learned.error().code)) co_return std::unexpected(learned.error());
  if (!learned) co_return fallback(FallbackReason::planner, learned.error().where);
  const auto keys = co_await keys_of(*call);
  if (!keys) co_return fallback(FallbackReason::planner, keys.error().where);
  auto planner = [this, call, entry](io::StopToken until_left, io::Deadline deadline) {
    return plan_anew(call, entry, until_left, deadline);
  };
  auto planning = herd.plan(call->repository, *keys, std::move(planner), stop, call->deadline);
  auto planned = co_await std::move(planning);
  // It left while the plan was made.
  if (entry->files == nullptr) herd.cache().files_changed(call->repository->id, nullptr);
  co_return planned;
}

// Made by one of those who ask for it: it may have to be made from a million refs.
io::Task<io::Result<void>> PlannerPool::Impl::learn_digest(const Entry& entry, Call& call,
                                                           io::StopToken stop) {
  if (entry->digest_of.lock() != call.snapshot) {
    const auto turn = co_await entry->learning.acquire(stop, call.deadline);
    if (!turn) co_return std::unexpected(turn.error());
    if (entry->digest_of.lock() != call.snapshot) {
      auto made = co_await make_tips_packet(blocking, call.snapshot);
      if (!made) co_return std::unexpected(made.error());
      entry->digest_of = call.snapshot;
      entry->digest = std::move(made->digest);
      call.tips = std::move(made->packet);
    }
  }
  call.tips_digest = entry->digest;
  co_return io::Result<void>{};
}

io::Task<io::Result<PlanKeys>> PlannerPool::Impl::keys_of(const Call& call) {
  auto make = [&call] {
    return plan_keys(call.repository->id, call.snapshot->format(), call.request, call.tips_digest);
  };
  if (key_ids(call.request) <= kKeyIdsOnLoopMax) co_return make();
  auto making = blocking.run(std::move(make));
  co_return co_await std::move(making);
}

io::Task<io::Result<Planned>> PlannerPool::Impl::plan_anew(std::shared_ptr<Call> call, Entry entry,
                                                           io::StopToken stop,
                                                           io::Deadline deadline) {
  if (loop.now() < entry->deadly_until) {
    co_return fallback(FallbackReason::planner, "planners died of this repository");
  }
  const auto files = co_await repositories.files_of(entry, stop, deadline);
  if (!files) {
    const io::Error& error = files.error();
    if (ends_the_wait(error.code)) co_return std::unexpected(error);
    const bool by_design = error.code == io::Errc::invalid || error.code == io::Errc::denied;
    co_return fallback(by_design ? FallbackReason::repository : FallbackReason::layout,
                       error.where);
  }
  auto planned = co_await ask(*call, entry, *files, stop, deadline);
  if (!planned || planned->reply->status != PlanStatus::missing) co_return planned;
  const auto newer = co_await repositories.newer_than(*files, entry, stop, deadline);
  if (!newer && ends_the_wait(newer.error().code)) co_return std::unexpected(newer.error());
  if (!newer || *newer == nullptr) co_return planned;
  co_return co_await ask(*call, entry, *newer, stop, deadline);
}

io::Task<io::Result<Planned>> PlannerPool::Impl::ask(Call& call, Entry entry,
                                                     OpenRepositories::Files files,
                                                     io::StopToken stop, io::Deadline deadline) {
  PlannerQuestion question{.files = files,
                           .format = entry->format,
                           .snapshot = call.snapshot,
                           .tips_digest = call.tips_digest,
                           .tips = std::exchange(call.tips, std::nullopt),
                           .request = call.request,
                           .id = 0};
  Planner& planner = planner_of(*call.repository);
  counters().waiting.add(1);
  const auto turn = co_await planner.turn.acquire(stop, deadline);
  counters().waiting.add(-1);
  if (!turn && turn.error().code == io::Errc::limit) counters().refused.add();
  if (!turn) co_return std::unexpected(turn.error());

  counters().plans.add();
  const Counted in_flight(counters().in_flight);
  io::Instant end = std::min(deadline.at, loop.now() + kPlanTimeMax);
  if (const std::uint32_t ms = call.request.time_ms_max; ms != 0) {
    end = std::min(end, loop.now() + std::chrono::milliseconds(ms));
  }
  for (int attempt = 0; attempt < 2 && !closing; ++attempt) {
    question.time_ms_max = static_cast<std::uint32_t>(std::max<std::int64_t>(
        1, std::chrono::duration_cast<std::chrono::milliseconds>(end - loop.now()).count()));
    if (attempt > 0) counters().retries.add();
    const io::Instant asked = loop.now();
    auto reply = co_await planner.ask(question, stop, {end + kOverrunGrace});
    if (reply) {
      // It has one thread: more than the time that passed is not to be believed.
      const auto wall = std::chrono::duration_cast<std::chrono::microseconds>(loop.now() - asked);
      const auto us = std::min(reply->plan.cpu_us, static_cast<std::uint64_t>(wall.count()));
      counters().cpu.observe(std::chrono::microseconds(us));
      auto kept = held(recipes_held, std::move(reply->plan));
      if (!kept) co_return fallback(FallbackReason::budget, "too many bytes of recipes are held");
      const bool large = kept->recipe.memory_bytes() > kFreedHereBytesMax;
      co_return Planned{.reply = large ? blocking.freed_here(std::move(kept)) : std::move(kept),
                        .files = std::move(files)};
    }
    if (reply.error().code == io::Errc::cancelled) co_return std::unexpected(reply.error());
    if (reply.error().code == io::Errc::deadline_exceeded) {
      if (deadline.passed(loop.now())) co_return std::unexpected(reply.error());
      co_return fallback(FallbackReason::budget, "a planner overran");
    }
    if (reply.error().code == io::Errc::unavailable) {
      co_return fallback(FallbackReason::planner, reply.error().where);
    }
  }
  if (!closing) entry->deadly_until = loop.now() + kDeadlyRest;
  co_return fallback(FallbackReason::planner, "planners died of this request");
}

void PlannerPool::housekeeping() {
  impl_->repositories.housekeeping();
  for (const auto& planner : impl_->planners) {
    if (const auto turn = planner->turn.try_acquire()) planner->flush_forgotten();
  }
}

io::Task<void> PlannerPool::close() {
  impl_->closing = true;
  for (const auto& planner : impl_->planners) {
    // The plan under way may end; those that wait find that it is over.
    const io::Deadline patience = io::Deadline::after(impl_->loop.now(), kCloseGrace);
    auto turn = co_await planner->turn.acquire({}, patience);
    if (!turn) {
      planner->kill();
      turn = co_await planner->turn.acquire();
    }
    co_await planner->end();
  }
  co_await impl_->calls.join();
  co_await impl_->herd.close();
  co_await impl_->repositories.close();
}

}  // namespace weir::git
