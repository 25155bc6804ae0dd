#include "git/process_slots.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tests/io/test_loop.h"

namespace weir::git {
namespace {

using Slots = std::vector<ProcessSlots::Slot>;

io::Task<void> take(ProcessSlots& slots, Slots& taken, std::vector<int>& order, int number,
                    io::Result<void>& result, io::StopToken stop, io::Deadline deadline) {
  io::Result<ProcessSlots::Slot> slot = co_await slots.acquire(stop, deadline);
  if (!slot) {
    result = std::unexpected(slot.error());
    co_return;
  }
  order.push_back(number);
  taken.push_back(std::move(*slot));
}

class ProcessSlotsTest : public testing::Test {
 protected:
  void start(int number, io::StopToken stop = {}, io::Deadline deadline = io::Deadline::never()) {
    scope.spawn(take(slots, taken, order, number, result, stop, deadline));
  }
  void TearDown() override {
    test.run_until([&] { return scope.running() == 0; });
    taken.clear();
  }

  io::TestLoop test;
  ProcessSlots slots{"test", 2, 3};
  Slots taken;
  std::vector<int> order;
  io::Result<void> result;
  io::TaskScope scope;
};

TEST_F(ProcessSlotsTest, grants_up_to_the_bound_and_then_in_order) {
  for (int number = 1; number <= 5; ++number) start(number);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_EQ(slots.waiting(), 3U);
  taken.erase(taken.begin());
  test.run_until([&] { return order.size() == 3; });
  EXPECT_EQ(slots.in_use(), 2);
  taken.erase(taken.begin(), taken.begin() + 2);
  test.run_until([&] { return order.size() == 5; });
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4, 5}));
}

TEST_F(ProcessSlotsTest, refuses_at_once_when_the_queue_is_full) {
  for (int number = 1; number <= 6; ++number) start(number);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, io::Errc::limit);
  taken.clear();
  test.run_until([&] { return order.size() == 4; });
  taken.clear();
}

TEST_F(ProcessSlotsTest, a_waiter_that_stops_leaves_the_queue) {
  io::StopSource stop;
  start(1);
  start(2);
  start(3, io::StopToken(stop));
  stop.request_stop();
  test.run_until([&] { return !result.has_value(); });
  EXPECT_EQ(result.error().code, io::Errc::cancelled);
  EXPECT_EQ(slots.waiting(), 0U);
}

TEST_F(ProcessSlotsTest, a_waiter_gives_up_at_its_deadline) {
  start(1);
  start(2);
  start(3, {}, io::Deadline::after(test.clock.now(), std::chrono::milliseconds(10)));
  test.run_until([&] { return !result.has_value(); });
  EXPECT_EQ(result.error().code, io::Errc::deadline_exceeded);
}

TEST_F(ProcessSlotsTest, a_slot_granted_while_its_waiter_gives_up_is_not_lost) {
  io::StopSource stop;
  start(1);
  start(2);
  start(3, io::StopToken(stop));
  taken.erase(taken.begin());  // granted, but the loop has not run yet
  stop.request_stop();
  test.run_until([&] { return scope.running() == 0; });
  taken.clear();
  EXPECT_EQ(slots.in_use(), 0);
}

TEST_F(ProcessSlotsTest, a_slot_may_be_given_back_on_another_thread) {
  start(1);
  start(2);
  start(3);
  std::thread([&] { taken.erase(taken.begin()); }).join();
  test.run_until([&] { return order.size() == 3; });
}

}  // namespace
}  // namespace weir::git
