#pragma once
// BlockingPool: a few threads for file-system calls that may block (reading refs, syncfs, log
// files). Bounded: at most kBlockingQueueMax waiting jobs; beyond that run() fails with
// Errc::limit. Jobs do bounded work and never touch loop state; results come back through the
// loop's mailbox. A job that has started is not interrupted: run() then waits for it although its
// caller was cancelled.

#include <condition_variable>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "io/error.h"
#include "io/event_loop.h"
#include "io/metrics.h"
#include "io/task.h"

namespace weir::io {

inline constexpr std::size_t kBlockingQueueMax = 4096;  // > requests in flight that may need one

class BlockingPool {
 public:
  explicit BlockingPool(int threads);
  ~BlockingPool();  // finishes what is queued; before the loops it answers to end

  // Runs `job` (T()) on a pool thread and resumes the caller on its loop.
  template <typename Job>
  auto run(Job job) -> Task<Result<std::invoke_result_t<Job&>>> {
    using T = std::invoke_result_t<Job&>;
    std::optional<T> value;
    const bool ran = co_await Awaiter{*this, [&job, &value] { value.emplace(job()); }};
    if (!ran) co_return fail(Errc::limit, "blocking pool queue");
    co_return std::move(*value);
  }

  std::size_t queued() const;

 private:
  struct Awaiter : ReadyNode {
    Awaiter(BlockingPool& owner, std::move_only_function<void()> job)
        : pool(owner), work(std::move(job)) {}
    bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<> awaiting);
    bool await_resume() const { return accepted; }
    BlockingPool& pool;
    std::move_only_function<void()> work;
    bool accepted = false;
  };
  void thread_main();

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::move_only_function<void()>> queue_;
  Gauge queued_gauge_;
  Counter refused_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace weir::io
