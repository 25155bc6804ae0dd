#pragma once
// EventLoop: one per thread. A turn: collect completions in one batch -> run their handlers -> due
// timers -> mailbox -> ready coroutines -> the write scheduler -> one heavy item -> wait again.
// Everything but post(), stop() and load() belongs to the loop's own thread. It owns the backend,
// the timer wheel and the write scheduler. The mailbox is bounded (kMailboxMax) by its posters'
// budgets: accepted sockets, blocking-pool results, control messages.

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "io/backend.h"
#include "io/clock.h"
#include "io/intrusive_list.h"
#include "io/mailbox.h"
#include "io/metrics.h"
#include "io/timer_wheel.h"
#include "io/write_scheduler.h"

namespace weir::io {

// Bounds of one turn: what is left over runs in the next, which then does not wait.
inline constexpr std::size_t kCompletionsPerTurnMax = 1024;  // ~1 ms of small handlers
inline constexpr std::size_t kResumesPerTurnMax = 1024;
// Messages waiting for one loop: a quarter for accepted sockets (kMailboxHandOffMax), results of
// the blocking pool (kBlockingQueueMax), the rest for control messages. Beyond it a poster is
// broken.
inline constexpr std::size_t kMailboxMax = 65536;

// What a turn must not take: beyond it everybody on the loop waits noticeably.
inline constexpr Duration kSlowTurn = 5ms;

// A coroutine to be resumed in this turn.
struct ReadyNode : ListNode<ReadyNode> {
  std::coroutine_handle<> handle;
};

// Work too long for the normal queue (a TLS handshake step): one item a turn, after all else.
struct HeavyWork : ListNode<HeavyWork> {
  void (*run)(HeavyWork& self) = nullptr;
};

// Runs once at the end of the current turn, before the loop waits (flushes of coalesced output).
struct TurnEndWork : ListNode<TurnEndWork> {
  void (*run)(TurnEndWork& self) = nullptr;
};

struct EventLoopStats {
  std::uint64_t turns = 0;
  std::uint64_t completions = 0;
  std::uint64_t busy_ns = 0;      // time outside wait()
  std::uint64_t turn_ns_max = 0;  // longest turn since the last read
  std::uint64_t slow_turns = 0;   // longer than kSlowTurn
};

class EventLoop {
 public:
  EventLoop(int index, std::unique_ptr<Backend> backend, const Clock& clock);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Binds the loop to the calling thread and makes it current() there. run() and turn() do it too.
  Result<void> start();
  // Where the length of each turn goes; before it runs.
  void observe_turns(Histogram turn_time) { turn_time_ = turn_time; }
  // Runs turns on the calling thread until stop() and until nothing posted before it is left.
  Result<void> run();
  // One turn, waiting at most until `until`: for tests and simulation.
  void turn(std::optional<Instant> until);
  void stop();

  // The loop bound to this thread.
  static EventLoop& current();
  static EventLoop* current_or_null();
  // The calling thread is inside a turn that another one follows: what it submits leaves.
  static bool in_turn();

  int index() const { return index_; }
  // Time of the current turn: cheap, at most one turn old.
  Instant now() const { return now_; }
  const Clock& clock() const { return clock_; }
  Backend& backend() { return *backend_; }
  TimerWheel& timers() { return timers_; }
  WriteScheduler& writes() { return writes_; }

  void schedule(ReadyNode& node) { ready_.push_back(node); }
  void heavy(HeavyWork& work) { heavy_.push_back(work); }
  void at_turn_end(TurnEndWork& work) {
    if (!work.linked()) turn_end_.push_back(work);
  }
  // Any thread: runs `work` on the loop thread. The only cross-thread door of a loop.
  void post(std::move_only_function<void()> work);

  // Any thread.
  std::size_t mailbox_waiting() const { return mailbox_.waiting(); }

  // Open connections on this loop, for the accept hand-off; written here, read by any thread.
  std::atomic<std::int64_t>& load() { return load_; }
  // Read by any thread; each field is individually consistent.
  EventLoopStats stats() const;

 private:
  bool work_waiting() const;
  void run_ready();
  void run_heavy();
  void run_turn_end();

  const int index_;
  const Clock& clock_;
  std::unique_ptr<Backend> backend_;
  Instant now_;
  TimerWheel timers_;
  WriteScheduler writes_;
  IntrusiveList<ReadyNode> ready_;
  IntrusiveList<HeavyWork> heavy_;
  IntrusiveList<TurnEndWork> turn_end_;
  std::vector<CompletedOp> batch_;

  Mailbox mailbox_;
  std::atomic<int> posters_{0};  // other threads inside post()
  bool started_ = false;
  bool stopping_ = false;
  std::atomic<std::int64_t> load_{0};
  Histogram turn_time_;
  std::atomic<std::uint64_t> turns_{0}, completions_{0}, busy_ns_{0}, slow_turns_{0};
  mutable std::atomic<std::uint64_t> turn_ns_max_{0};
};

}  // namespace weir::io
