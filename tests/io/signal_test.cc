#include "io/signal.h"

#include <gtest/gtest.h>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

Task<Result<void>> wait_for(Signal& signal, StopToken stop, Deadline deadline) {
  co_return co_await signal.wait(stop, deadline);
}
Task<void> count_waits(Signal& signal, int& woken) {
  (void)co_await signal.wait();
  ++woken;
}

TEST(Signal, a_notify_before_the_wait_is_remembered_once) {
  TestLoop test;
  Signal signal;
  signal.notify();
  signal.notify();
  EXPECT_TRUE(test.run(wait_for(signal, {}, Deadline::never())).has_value());
  const Deadline soon = Deadline::after(test.clock.now(), 5ms);
  EXPECT_EQ(test.run(wait_for(signal, {}, soon)).error().code, Errc::deadline_exceeded);
  signal.notify();
  signal.reset();
  const Deadline again = Deadline::after(test.clock.now(), 5ms);
  EXPECT_FALSE(test.run(wait_for(signal, {}, again)).has_value());
}

TEST(Signal, resumes_its_waiter_from_the_loop_and_not_inside_notify) {
  TestLoop test;
  Signal signal;
  TaskScope scope;
  int woken = 0;
  scope.spawn(count_waits(signal, woken));
  EXPECT_TRUE(signal.has_waiter());
  signal.notify();
  EXPECT_EQ(woken, 0);
  EXPECT_FALSE(signal.has_waiter());
  test.run_turns(1);
  EXPECT_EQ(woken, 1);
}

TEST(Signal, a_stop_cancels_the_wait) {
  TestLoop test;
  Signal signal;
  StopSource stop;
  TaskScope scope;
  std::optional<Errc> code;
  const auto body = [](Signal& from, StopToken token, std::optional<Errc>& into) -> Task<void> {
    const Result<void> result = co_await from.wait(token);
    into = result.error().code;
  };
  scope.spawn(body(signal, StopToken(stop), code));
  stop.request_stop();
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(code, Errc::cancelled);
  EXPECT_EQ(test.run(wait_for(signal, StopToken(stop), Deadline::never())).error().code,
            Errc::cancelled);
}

TEST(Signal, stop_and_notify_in_the_same_turn_complete_it_once) {
  TestLoop test;
  Signal signal;
  StopSource stop;
  TaskScope scope;
  int ended = 0;
  const auto body = [](Signal& from, StopToken token, int& count) -> Task<void> {
    (void)co_await from.wait(token);
    ++count;
  };
  scope.spawn(body(signal, StopToken(stop), ended));
  signal.notify();
  stop.request_stop();
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(ended, 1);
}

TEST(Sleep, ends_at_its_time_or_by_a_stop) {
  TestLoop test;
  const auto body = [](Deadline until, StopToken stop) -> Task<Result<void>> {
    co_return co_await sleep_until(until, stop);
  };
  const Deadline soon = Deadline::after(test.clock.now(), 10ms);
  EXPECT_TRUE(test.run(body(soon, {})).has_value());
  EXPECT_TRUE(soon.passed(test.clock.now()));
  StopSource stop;
  stop.request_stop();
  EXPECT_EQ(test.run(body(Deadline::never(), StopToken(stop))).error().code, Errc::cancelled);
}

}  // namespace
}  // namespace weir::io
