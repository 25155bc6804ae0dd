#include "io/event_loop.h"

#include <algorithm>
#include <thread>

namespace weir::io {
namespace {

thread_local EventLoop* current_loop = nullptr;
thread_local bool inside_turn = false;

}  // namespace

EventLoop::EventLoop(int index, std::unique_ptr<Backend> backend, const Clock& clock)
    : index_(index), clock_(clock), backend_(std::move(backend)), now_(clock.now()), timers_(now_) {
  batch_.reserve(kCompletionsPerTurnMax);
}

EventLoop::~EventLoop() {
  // Who posted the last message may still be about to wake us.
  while (posters_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  if (current_loop == this) current_loop = nullptr;
}

EventLoop& EventLoop::current() {
  WEIR_CHECK(current_loop != nullptr);
  return *current_loop;
}

EventLoop* EventLoop::current_or_null() {
  return current_loop;
}

bool EventLoop::in_turn() {
  return inside_turn;
}

Result<void> EventLoop::start() {
  current_loop = this;
  if (started_) return {};
  Result<void> bound = backend_->start();
  if (bound) started_ = true;
  return bound;
}

Result<void> EventLoop::run() {
  Result<void> started = start();
  if (!started) return started;
  while (!stopping_) turn(std::nullopt);
  do {
    turn(Instant::min());
  } while (work_waiting());
  return {};
}

void EventLoop::stop() {
  post([this] { stopping_ = true; });
}

bool EventLoop::work_waiting() const {
  return !ready_.empty() || !heavy_.empty() || !turn_end_.empty() || writes_.waiting() ||
         !mailbox_.empty();
}

void EventLoop::turn(std::optional<Instant> until) {
  const Result<void> started = start();
  WEIR_CHECK(started.has_value());
  if (work_waiting()) {
    until = Instant::min();
  } else if (const std::optional<Instant> expiry = timers_.next_expiry()) {
    until = until ? std::min(*until, *expiry) : *expiry;
  }
  batch_.clear();
  backend_->wait(until, batch_);

  inside_turn = !stopping_;  // a last turn is followed by no wait that would submit
  now_ = clock_.now();
  for (const CompletedOp& completed : batch_) {
    Backend::landed(*completed.op, completed.completion);
    completed.op->on_complete(*completed.op, completed.completion);
  }
  timers_.advance(now_);
  mailbox_.run();
  run_ready();
  writes_.run();
  run_heavy();
  run_turn_end();
  inside_turn = false;

  const Duration busy = clock_.now() - now_;
  const auto busy_ns = static_cast<std::uint64_t>(busy.count());
  turn_time_.observe(busy);
  turns_.fetch_add(1, std::memory_order_relaxed);
  completions_.fetch_add(batch_.size(), std::memory_order_relaxed);
  busy_ns_.fetch_add(busy_ns, std::memory_order_relaxed);
  if (busy_ns > static_cast<std::uint64_t>(kSlowTurn.count())) {
    slow_turns_.fetch_add(1, std::memory_order_relaxed);
  }
  if (busy_ns > turn_ns_max_.load(std::memory_order_relaxed)) {
    turn_ns_max_.store(busy_ns, std::memory_order_relaxed);
  }
}

void EventLoop::post(std::move_only_function<void()> work) {
  WEIR_CHECK(mailbox_.waiting() < kMailboxMax);
  // The loop's own thread looks at the mailbox before it waits; others end its wait. Once the loop
  // has this message it may end, and be destroyed when we are out.
  if (current_loop == this) {
    mailbox_.push(std::move(work));
    return;
  }
  posters_.fetch_add(1, std::memory_order_relaxed);
  if (mailbox_.push(std::move(work))) backend_->wake();
  posters_.fetch_sub(1, std::memory_order_release);
}

void EventLoop::run_ready() {
  for (std::size_t resumes = 0; !ready_.empty() && resumes < kResumesPerTurnMax; ++resumes) {
    // The node lives in the coroutine's frame: not touched once it runs.
    const std::coroutine_handle<> handle = ready_.pop_front().handle;
    handle.resume();
  }
}

void EventLoop::run_heavy() {
  if (heavy_.empty()) return;
  HeavyWork& work = heavy_.pop_front();
  work.run(work);
}

void EventLoop::run_turn_end() {
  IntrusiveList<TurnEndWork> ending;  // what is added meanwhile belongs to the next turn
  ending.splice_back(turn_end_);
  while (!ending.empty()) {
    TurnEndWork& work = ending.pop_front();
    work.run(work);
  }
}

EventLoopStats EventLoop::stats() const {
  return {.turns = turns_.load(std::memory_order_relaxed),
          .completions = completions_.load(std::memory_order_relaxed),
          .busy_ns = busy_ns_.load(std::memory_order_relaxed),
          .turn_ns_max = turn_ns_max_.exchange(0, std::memory_order_relaxed),
          .slow_turns = slow_turns_.load(std::memory_order_relaxed)};
}

}  // namespace weir::io
