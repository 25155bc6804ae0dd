#pragma once
// BlockingPool: where file-system calls run that may block (reading refs, syncfs) and computations
// that would hold up a loop; BlockingThreads: a few threads. Bounded: at most kBlockingQueueMax
// waiting jobs; beyond that run() fails with Errc::limit. Jobs do bounded work and never touch loop
// state; results come back through the loop's mailbox. A job that has started is not interrupted:
// run() then waits for it although its caller was cancelled.

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "io/error.h"
#include "io/event_loop.h"
#include "io/mailbox.h"
#include "io/metrics.h"
#include "io/semaphore.h"
#include "io/task.h"

namespace weir::io {

inline constexpr std::size_t kBlockingQueueMax = 4096;  // > requests in flight that may need one

class BlockingPool {
 public:
  virtual ~BlockingPool() = default;

  // Runs `job` (T()) on a pool thread and resumes the caller on its loop.
  template <typename Job>
  auto run(Job job) -> Task<Result<std::invoke_result_t<Job&>>> {
    using T = std::invoke_result_t<Job&>;
    std::optional<T> value;
    const bool ran = co_await Awaiter{*this, [&job, &value] { value.emplace(job()); }};
    if (!ran) co_return fail(Errc::limit, "blocking pool queue");
    co_return std::move(*value);
  }

  // Another handle to what `owned` points at. When the last copy of it goes in a loop's turn, the
  // memory is given back on a pool thread: for large things that takes milliseconds. (A pool
  // outlives the turns of the loops that use it.)
  template <typename T>
  std::shared_ptr<T> freed_here(std::shared_ptr<T> owned) {
    T* const there = owned.get();
    return {there,
            [this, owned = std::move(owned)](T*) mutable { let_go(this, std::move(owned)); }};
  }

 protected:
  struct Job {
    Mailbox::Work work;
    Mailbox::Work done;  // tells the loop; after `work`, on the same thread
  };
  // Runs the job once, later; loops never wait here. False: the queue is full.
  virtual bool push(Job job) = 0;

 private:
  struct Awaiter : ReadyNode {
    Awaiter(BlockingPool& owner, Mailbox::Work job) : pool(owner), work(std::move(job)) {}
    bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<> awaiting);
    bool await_resume() const { return accepted; }
    BlockingPool& pool;
    Mailbox::Work work;
    bool accepted = false;
  };
  // `pool` may be gone outside of turns.
  static void let_go(BlockingPool* pool, std::shared_ptr<const void> last);
};

class BlockingThreads final : public BlockingPool {
 public:
  explicit BlockingThreads(int threads);
  ~BlockingThreads() override;  // finishes what is queued; before the loops it answers to end
  std::size_t queued() const { return queued_.load(std::memory_order_relaxed); }

 private:
  bool push(Job job) override;
  void thread_main();

  std::atomic<std::size_t> queued_{0};
  Mailbox incoming_;
  Semaphore jobs_;    // one token a job, and one a thread to end
  std::mutex mutex_;  // of the pool's own threads
  std::deque<Mailbox::Work> queue_;
  Gauge queued_gauge_;
  Counter refused_;
  std::vector<std::thread> threads_;
};

}  // namespace weir::io
