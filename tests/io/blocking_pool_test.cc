#include "io/blocking_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <memory>
#include <thread>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

TEST(BlockingPool, runs_the_job_elsewhere_and_resumes_here) {
  TestLoop test;
  BlockingThreads pool(2);
  const auto body = [](BlockingPool& workers) -> Task<Result<std::thread::id>> {
    const auto job = [] { return std::this_thread::get_id(); };
    const Result<std::thread::id> ran = co_await workers.run(job);
    EXPECT_NE(EventLoop::current_or_null(), nullptr);
    co_return ran;
  };
  const Result<std::thread::id> ran = test.run(body(pool));
  ASSERT_TRUE(ran.has_value());
  EXPECT_NE(*ran, std::this_thread::get_id());
}

Task<void> count_one(BlockingPool& pool, std::atomic<int>& done) {
  const auto job = [&done] { return ++done; };
  const Result<int> ran = co_await pool.run(job);
  EXPECT_TRUE(ran.has_value());
}

TEST(BlockingPool, many_jobs_of_several_loops_all_come_back) {
  BlockingThreads pool(3);
  std::atomic<int> done{0};
  const auto serve = [&pool, &done] {
    TestLoop test;
    TaskScope scope;
    for (int i = 0; i < 500; ++i) scope.spawn(count_one(pool, done));
    test.run_until([&] { return scope.running() == 0; });
  };
  std::thread other(serve);
  serve();
  other.join();
  EXPECT_EQ(done.load(), 1000);
}

Task<void> wait_for(BlockingPool& pool, std::latch& released) {
  const auto job = [&released] {
    released.wait();
    return true;
  };
  const Result<bool> ran = co_await pool.run(job);
  EXPECT_TRUE(ran.has_value());
}

TEST(BlockingPool, refuses_when_its_queue_is_full) {
  TestLoop test;
  BlockingThreads pool(1);
  std::latch released(1);
  TaskScope scope;
  scope.spawn(wait_for(pool, released));
  while (pool.queued() > 0) std::this_thread::yield();  // the one thread holds it now
  std::atomic<int> done{0};
  for (std::size_t i = 0; i < kBlockingQueueMax; ++i) scope.spawn(count_one(pool, done));
  EXPECT_EQ(pool.queued(), kBlockingQueueMax);
  const auto refused = [](BlockingPool& workers) -> Task<Result<int>> {
    const auto job = [] { return 1; };
    co_return co_await workers.run(job);
  };
  const Result<int> result = test.run(refused(pool));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::limit);
  released.count_down();
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(done.load(), static_cast<int>(kBlockingQueueMax));
}

struct Owned {
  std::promise<std::thread::id>& freed_by;
  ~Owned() { freed_by.set_value(std::this_thread::get_id()); }
};

TEST(BlockingPool, frees_what_a_loop_lets_go_in_its_turn) {
  TestLoop test;
  BlockingThreads pool(1);
  std::promise<std::thread::id> freed_by;
  auto owned = pool.freed_here(std::make_shared<Owned>(freed_by));
  auto copy = owned;
  copy.reset();  // not the last one
  const auto let_go = [](std::shared_ptr<Owned> last) -> Task<void> {
    last.reset();
    co_return;
  };
  TaskScope scope;
  test.loop.post([&] { scope.spawn(let_go(std::move(owned))); });
  test.run_until([&] { return owned == nullptr && scope.running() == 0; });
  EXPECT_NE(freed_by.get_future().get(), std::this_thread::get_id());
}

TEST(BlockingPool, leaves_it_to_other_threads_to_free_what_they_let_go) {
  std::promise<std::thread::id> freed_by;
  BlockingThreads pool(1);
  pool.freed_here(std::make_shared<Owned>(freed_by)).reset();
  EXPECT_EQ(freed_by.get_future().get(), std::this_thread::get_id());
}

TEST(BlockingPool, may_be_gone_before_what_it_handed_out) {
  std::promise<std::thread::id> freed_by;
  auto pool = std::make_unique<BlockingThreads>(1);
  auto owned = pool->freed_here(std::make_shared<Owned>(freed_by));
  pool.reset();
  owned.reset();
  EXPECT_EQ(freed_by.get_future().get(), std::this_thread::get_id());
}

}  // namespace
}  // namespace weir::io
