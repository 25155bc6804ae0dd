#include "io/timer_wheel.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace weir::io {
namespace {

struct TestTimer : Timer {
  TestTimer() {
    on_expire = [](Timer& self) { ++static_cast<TestTimer&>(self).fired; };
  }
  int fired = 0;
};

class TimerWheelTest : public testing::Test {
 protected:
  void step(Duration by) {
    clock.advance(by);
    wheel.advance(clock.now());
  }
  ManualClock clock;
  TimerWheel wheel{clock.now()};
};

TEST_F(TimerWheelTest, fires_not_before_its_time_and_at_most_one_tick_after) {
  for (const Duration delay : {Duration(1ns), Duration(4ms), Duration(5ms), Duration(255ms),
                               Duration(256ms), Duration(17s), Duration(1h), Duration(24h * 30)}) {
    TestTimer timer;
    wheel.arm(timer, clock.now() + delay);
    step(delay - 1ns);
    EXPECT_EQ(timer.fired, 0) << delay.count();
    step(kTimerTick);
    EXPECT_EQ(timer.fired, 1) << delay.count();
    EXPECT_FALSE(timer.armed());
  }
}

TEST_F(TimerWheelTest, a_time_in_the_past_fires_at_the_next_tick) {
  TestTimer timer;
  wheel.arm(timer, clock.now() - 1h);
  step(kTimerTick);
  EXPECT_EQ(timer.fired, 1);
}

TEST_F(TimerWheelTest, timers_beyond_the_last_level_still_fire_on_time) {
  TestTimer timer;
  const Duration delay = 24h * 200;
  wheel.arm(timer, clock.now() + delay);
  step(delay - 1ns);
  EXPECT_EQ(timer.fired, 0);
  step(kTimerTick);
  EXPECT_EQ(timer.fired, 1);
}

TEST_F(TimerWheelTest, a_cancelled_timer_does_not_fire_and_does_not_wake_the_loop) {
  TestTimer timer;
  wheel.arm(timer, clock.now() + 10ms);
  wheel.cancel(timer);
  EXPECT_EQ(wheel.next_expiry(), std::nullopt);
  step(1s);
  EXPECT_EQ(timer.fired, 0);
}

TEST_F(TimerWheelTest, arming_again_moves_the_timer) {
  TestTimer timer;
  wheel.arm(timer, clock.now() + 10ms);
  wheel.arm(timer, clock.now() + 10s);
  step(5s);
  EXPECT_EQ(timer.fired, 0);
  step(6s);
  EXPECT_EQ(timer.fired, 1);
}

TEST_F(TimerWheelTest, callbacks_may_cancel_others_and_arm_themselves) {
  struct Chained : Timer {
    TimerWheel* wheel = nullptr;
    Timer* victim = nullptr;
    int fired = 0;
  } chained;
  TestTimer victim;
  chained.wheel = &wheel;
  chained.victim = &victim;
  chained.on_expire = [](Timer& self) {
    auto& me = static_cast<Chained&>(self);
    me.wheel->cancel(*me.victim);
    if (++me.fired < 3) me.wheel->arm(me, me.expires_at);
  };
  const Instant at = clock.now() + 10ms;
  wheel.arm(chained, at);
  wheel.arm(victim, at);  // same slot, after the other
  step(12ms);
  EXPECT_EQ(chained.fired, 1);
  EXPECT_EQ(victim.fired, 0);
  step(kTimerTick);
  step(kTimerTick);
  EXPECT_EQ(chained.fired, 3);
}

// Against the plain definition: each timer fires at the first step at or after its time.
TEST_F(TimerWheelTest, agrees_with_a_sorted_list_on_random_schedules) {
  std::mt19937_64 random(7);
  struct Expected : Timer {
    Instant fired_at{};
    const ManualClock* clock = nullptr;
  };
  std::vector<std::unique_ptr<Expected>> timers;
  for (int i = 0; i < 2000; ++i) {
    auto timer = std::make_unique<Expected>();
    timer->clock = &clock;
    timer->on_expire = [](Timer& self) {
      auto& me = static_cast<Expected&>(self);
      me.fired_at = me.clock->now();
    };
    const auto delay =
        Duration(static_cast<std::int64_t>(random() % (1ULL << (random() % 44 + 1))));
    wheel.arm(*timer, clock.now() + delay);
    timers.push_back(std::move(timer));
    const std::optional<Instant> next = wheel.next_expiry();
    ASSERT_TRUE(next.has_value());
    if (random() % 2 == 0) {  // sleep as the loop would, sometimes past it
      clock.advance(*next - clock.now() +
                    Duration(static_cast<std::int64_t>(random() % 10'000'000)));
      wheel.advance(clock.now());
    }
  }
  while (const std::optional<Instant> next = wheel.next_expiry()) {
    clock.advance(*next - clock.now());
    wheel.advance(clock.now());
  }
  for (const auto& timer : timers) {
    EXPECT_GE(timer->fired_at, timer->expires_at);
    EXPECT_LE(timer->fired_at, timer->expires_at + 2 * kTimerTick + 10ms);
  }
}

}  // namespace
}  // namespace weir::io
