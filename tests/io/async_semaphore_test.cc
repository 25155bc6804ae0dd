#include "io/async_semaphore.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

struct Outcome {
  int name;
  std::optional<Errc> refused;
};

// Takes `count` units, notes it, and holds them until `let_go`.
Task<void> hold(AsyncSemaphore& semaphore, int name, std::int64_t count, Signal& let_go,
                std::vector<Outcome>& order, StopToken stop, Deadline deadline) {
  Result<AsyncSemaphore::Units> units = co_await semaphore.acquire(stop, deadline, count);
  if (!units) {
    order.push_back({name, units.error().code});
    co_return;
  }
  order.push_back({name, std::nullopt});
  (void)co_await let_go.wait();
}

class AsyncSemaphoreTest : public testing::Test {
 protected:
  void spawn(int name, std::int64_t count, Signal& let_go, StopToken stop = {},
             Deadline deadline = Deadline::never()) {
    scope.spawn(hold(semaphore, name, count, let_go, order, stop, deadline));
  }
  void finish() {
    test.run_until([&] { return scope.running() == 0; });
  }
  TestLoop test;
  AsyncSemaphore semaphore{3, 2};
  TaskScope scope;
  std::vector<Outcome> order;
  Signal first, second, third, fourth;
};

TEST_F(AsyncSemaphoreTest, gives_units_until_they_are_gone_and_takes_them_back) {
  {
    std::optional<AsyncSemaphore::Units> units = semaphore.try_acquire(2);
    ASSERT_TRUE(units.has_value());
    EXPECT_EQ(semaphore.available(), 1);
    EXPECT_FALSE(semaphore.try_acquire(2).has_value());
    AsyncSemaphore::Units moved = std::move(*units);
    EXPECT_EQ(moved.count(), 2);
    moved.release();
    moved.release();  // once is enough
    EXPECT_EQ(semaphore.available(), 3);
  }
  EXPECT_EQ(semaphore.available(), 3);
}

TEST_F(AsyncSemaphoreTest, serves_waiters_in_order_of_arrival) {
  spawn(1, 2, first);
  spawn(2, 3, second);  // does not fit
  spawn(3, 1, third);   // would fit, but waits its turn
  test.run_turns(2);
  EXPECT_EQ(semaphore.waiting(), 2u);
  EXPECT_FALSE(semaphore.try_acquire(1).has_value());  // nobody overtakes
  first.notify();
  test.run_until([&] { return order.size() == 2; });
  EXPECT_EQ(order[1].name, 2);
  second.notify();
  test.run_until([&] { return order.size() == 3; });
  third.notify();
  finish();
}

TEST_F(AsyncSemaphoreTest, refuses_when_too_many_wait) {
  spawn(1, 3, first);
  spawn(2, 1, second);
  spawn(3, 1, third);
  spawn(4, 1, fourth);
  ASSERT_EQ(order.size(), 2u);
  EXPECT_EQ(order[1].name, 4);
  EXPECT_EQ(order[1].refused, Errc::limit);
  first.notify();
  second.notify();
  third.notify();
  finish();
}

TEST_F(AsyncSemaphoreTest, a_waiter_that_gives_up_lets_the_next_one_through) {
  StopSource stop;
  spawn(1, 2, first);
  spawn(2, 3, second, StopToken(stop));
  spawn(3, 1, third);
  stop.request_stop();
  test.run_until([&] { return order.size() == 3; });
  EXPECT_EQ(semaphore.available(), 0);
  for (const Outcome& outcome : order) {
    EXPECT_EQ(outcome.refused.has_value(), outcome.name == 2);
  }
  first.notify();
  third.notify();
  finish();
}

TEST_F(AsyncSemaphoreTest, waiting_ends_at_the_deadline) {
  spawn(1, 3, first);
  spawn(2, 1, second, {}, Deadline::after(test.clock.now(), 10ms));
  test.run_until([&] { return order.size() == 2; });
  EXPECT_EQ(order[1].refused, Errc::deadline_exceeded);
  EXPECT_EQ(semaphore.waiting(), 0u);
  first.notify();
  finish();
}

}  // namespace
}  // namespace weir::io
