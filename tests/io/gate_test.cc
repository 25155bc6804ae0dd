#include "io/gate.h"

#include <gtest/gtest.h>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

TEST(Gate, refuses_newcomers_once_closed) {
  Gate gate;
  {
    const std::optional<Gate::Pass> pass = gate.enter();
    ASSERT_TRUE(pass.has_value());
    EXPECT_EQ(gate.inside(), 1);
    gate.close();
    EXPECT_FALSE(gate.enter().has_value());
  }
  EXPECT_EQ(gate.inside(), 0);
}

TEST(Gate, closing_waits_for_the_last_one_to_leave) {
  TestLoop test;
  Gate gate;
  std::optional<Gate::Pass> one = gate.enter();
  std::optional<Gate::Pass> two = gate.enter();
  TaskScope scope;
  scope.spawn(gate.close_and_wait());
  one.reset();
  test.run_turns(2);
  EXPECT_EQ(scope.running(), 1);
  Gate::Pass moved = std::move(*two);
  two.reset();
  test.run_turns(2);
  EXPECT_EQ(scope.running(), 1);
  {
    const Gate::Pass last = std::move(moved);
  }
  test.run_until([&] { return scope.running() == 0; });
}

TEST(Gate, closing_an_empty_gate_does_not_wait) {
  TestLoop test;
  Gate gate;
  test.run(gate.close_and_wait());
  EXPECT_TRUE(gate.closed());
}

TEST(GateDeathTest, destroying_it_with_somebody_inside_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto gate = std::make_unique<Gate>();
        const std::optional<Gate::Pass> pass = gate->enter();
        gate.reset();
      },
      "inside_ == 0");
}

}  // namespace
}  // namespace weir::io
