#include "io/blocking_pool.h"

namespace weir::io {

static_assert(kBlockingQueueMax <= kMailboxMax / 4, "results find room in one loop's mailbox");

BlockingThreads::BlockingThreads(int threads) {
  WEIR_CHECK(threads > 0);
  queued_gauge_ = Metrics::instance().gauge("weir_blocking_queue", "",
                                            "Jobs that wait for a thread of the blocking pool.");
  refused_ = Metrics::instance().counter("weir_blocking_refused_total", "",
                                         "Jobs that found the queue of the blocking pool full.");
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { thread_main(); });
}

BlockingThreads::~BlockingThreads() {
  jobs_.give(static_cast<std::uint32_t>(threads_.size()));
  for (std::thread& thread : threads_) thread.join();
}

bool BlockingThreads::push(Job job) {
  if (queued_.fetch_add(1, std::memory_order_relaxed) >= kBlockingQueueMax) {
    queued_.fetch_sub(1, std::memory_order_relaxed);
    refused_.add();
    return false;
  }
  queued_gauge_.add(1);
  incoming_.push([job = std::move(job)]() mutable {
    job.work();
    job.done();
  });
  jobs_.give();
  return true;
}

bool BlockingPool::Awaiter::await_suspend(std::coroutine_handle<> awaiting) {
  handle = awaiting;
  EventLoop& loop = EventLoop::current();
  accepted = pool.push(
      {[this] { work(); }, [this, &loop] { loop.post([this, &loop] { loop.schedule(*this); }); }});
  return accepted;  // false: resumes at once
}

void BlockingPool::let_go(BlockingPool* pool, std::shared_ptr<const void> last) {
  if (EventLoop::in_turn()) pool->push({[held = std::move(last)] {}, [] {}});
  // Else, or if there was no room, it is freed here.
}

void BlockingThreads::thread_main() {
  for (;;) {
    jobs_.take();
    Mailbox::Work job;
    {
      const std::scoped_lock lock(mutex_);
      if (queue_.empty()) {
        incoming_.take([this](Mailbox::Work next) { queue_.push_back(std::move(next)); });
      }
      if (queue_.empty()) return;  // the token was to end
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    queued_.fetch_sub(1, std::memory_order_relaxed);
    queued_gauge_.add(-1);
    job();
  }
}

}  // namespace weir::io
