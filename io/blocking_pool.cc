#include "io/blocking_pool.h"

namespace weir::io {

static_assert(kBlockingQueueMax <= kMailboxMax / 4, "results find room in one loop's mailbox");

BlockingPool::BlockingPool(int threads) {
  WEIR_CHECK(threads > 0);
  queued_gauge_ = Metrics::instance().gauge("weir_blocking_queue", "",
                                            "Jobs that wait for a thread of the blocking pool.");
  refused_ = Metrics::instance().counter("weir_blocking_refused_total", "",
                                         "Jobs that found the queue of the blocking pool full.");
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { thread_main(); });
}

BlockingPool::~BlockingPool() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::size_t BlockingPool::queued() const {
  const std::scoped_lock lock(mutex_);
  return queue_.size();
}

bool BlockingPool::Awaiter::await_suspend(std::coroutine_handle<> awaiting) {
  handle = awaiting;
  EventLoop& loop = EventLoop::current();
  {
    const std::scoped_lock lock(pool.mutex_);
    if (pool.queue_.size() >= kBlockingQueueMax) {
      pool.refused_.add();
      return false;  // resumes at once, not accepted
    }
    accepted = true;
    pool.queued_gauge_.add(1);
    pool.queue_.emplace_back([this, &loop] {
      work();
      loop.post([this, &loop] { loop.schedule(*this); });
    });
  }
  pool.wake_.notify_one();
  return true;
}

void BlockingPool::thread_main() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::move_only_function<void()> job = std::move(queue_.front());
    queue_.pop_front();
    queued_gauge_.add(-1);
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace weir::io
