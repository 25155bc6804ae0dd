#include "io/event_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

TEST(EventLoop, runs_posts_from_other_threads_in_order_and_on_its_own_thread) {
  const SystemClock clock;
  EventLoop loop(0, test_backend(), clock);
  std::vector<int> seen;
  std::thread::id ran_on;
  std::thread runner([&] { EXPECT_TRUE(loop.run().has_value()); });
  const std::thread::id runner_id = runner.get_id();
  for (int i = 0; i < 1000; ++i) {
    loop.post([&seen, &ran_on, i] {
      seen.push_back(i);
      ran_on = std::this_thread::get_id();
    });
  }
  loop.stop();
  runner.join();
  ASSERT_EQ(seen.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], i);
  EXPECT_EQ(ran_on, runner_id);
}

// Each message wakes a sleeping loop, which answers: a lost wake-up would hang the exchange.
void play_ping_pong(UringOptions options) {
  constexpr int kRounds = 2000;
  const SystemClock clock;
  EventLoop left(0, test_backend(options), clock);
  EventLoop right(1, test_backend(options), clock);
  std::atomic<int> rounds{0};
  struct Game {
    EventLoop& left;
    EventLoop& right;
    std::atomic<int>& rounds;
    void serve() {
      right.post([this] {
        left.post([this] {
          if (rounds.fetch_add(1) + 1 < kRounds) return serve();
          right.stop();
          left.stop();
        });
      });
    }
  } game{left, right, rounds};
  std::thread left_thread([&] { EXPECT_TRUE(left.run().has_value()); });
  std::thread right_thread([&] { EXPECT_TRUE(right.run().has_value()); });
  game.serve();
  left_thread.join();
  right_thread.join();
  EXPECT_EQ(rounds.load(), kRounds);
}

TEST(EventLoop, loops_wake_each_other_by_ring_messages) {
  play_ping_pong({});
}

TEST(EventLoop, loops_wake_each_other_by_eventfd) {
  play_ping_pong({.msg_ring = false});
}

TEST(EventLoop, a_message_to_a_loop_that_does_not_run_yet_is_kept) {
  TestLoop ours;
  const SystemClock clock;
  EventLoop late(1, test_backend(), clock);
  bool posted = false;
  std::atomic<bool> seen{false};
  ours.loop.post([&] {
    late.post([&] {
      seen = true;
      late.stop();
    });
    posted = true;
  });
  ours.run_until([&] { return posted; });
  ours.run_turns(2);
  std::thread runner([&] { EXPECT_TRUE(late.run().has_value()); });
  runner.join();
  EXPECT_TRUE(seen);
}

TEST(EventLoop, a_message_of_another_loops_last_turn_arrives) {
  const SystemClock clock;
  EventLoop ending(0, test_backend(), clock);
  EventLoop staying(1, test_backend(), clock);
  std::thread stays([&] { EXPECT_TRUE(staying.run().has_value()); });
  ending.post([&] { ending.post([&] { staying.stop(); }); });
  ending.stop();
  std::thread ends([&] { EXPECT_TRUE(ending.run().has_value()); });
  ends.join();
  stays.join();
}

TEST(EventLoop, posts_from_many_threads_all_arrive) {
  const SystemClock clock;
  EventLoop loop(0, test_backend(), clock);
  constexpr int kThreads = 4;
  constexpr int kPosts = 2000;
  int count = 0;  // loop thread only
  std::thread runner([&] { EXPECT_TRUE(loop.run().has_value()); });
  std::vector<std::thread> posters;
  for (int t = 0; t < kThreads; ++t) {
    posters.emplace_back([&] {
      for (int i = 0; i < kPosts; ++i) loop.post([&count] { ++count; });
    });
  }
  for (std::thread& poster : posters) poster.join();
  loop.stop();
  runner.join();
  EXPECT_EQ(count, kThreads * kPosts);
}

TEST(EventLoop, sleeps_until_the_next_timer_and_no_longer) {
  TestLoop test;
  struct Once : Timer {
    bool fired = false;
  } timer;
  timer.on_expire = [](Timer& self) { static_cast<Once&>(self).fired = true; };
  const Instant at = test.clock.now() + 30ms;
  test.loop.timers().arm(timer, at);
  while (!timer.fired) test.loop.turn(std::nullopt);  // would hang without the timer
  EXPECT_GE(test.clock.now(), at);
  EXPECT_LE(test.loop.stats().turns, 20u);  // waiting, not spinning
}

TEST(EventLoop, heavy_work_runs_one_item_a_turn) {
  TestLoop test;
  struct Item : HeavyWork {
    int* done = nullptr;
  };
  std::array<Item, 3> items;
  int done = 0;
  for (Item& item : items) {
    item.done = &done;
    item.run = [](HeavyWork& self) { ++*static_cast<Item&>(self).done; };
    test.loop.heavy(item);
  }
  for (int turn = 1; turn <= 3; ++turn) {
    test.loop.turn(std::nullopt);  // does not wait: work is left
    EXPECT_EQ(done, turn);
  }
}

TEST(EventLoop, turn_end_work_runs_once_after_everything_else) {
  TestLoop test;
  struct Flush : TurnEndWork {
    std::vector<int>* order = nullptr;
  } flush;
  std::vector<int> order;
  flush.order = &order;
  flush.run = [](TurnEndWork& self) { static_cast<Flush&>(self).order->push_back(2); };
  test.loop.post([&] {
    test.loop.at_turn_end(flush);
    test.loop.at_turn_end(flush);
    order.push_back(1);
  });
  test.run_turns(3);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(EventLoop, is_current_only_on_its_thread) {
  TestLoop test;
  EXPECT_EQ(&EventLoop::current(), &test.loop);
  EventLoop* elsewhere = &test.loop;
  std::thread([&] { elsewhere = EventLoop::current_or_null(); }).join();
  EXPECT_EQ(elsewhere, nullptr);
  EXPECT_FALSE(EventLoop::in_turn());
}

}  // namespace
}  // namespace weir::io
