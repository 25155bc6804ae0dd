#include "io/task_scope.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

Task<void> wait_then_count(Signal& signal, StopToken stop, int& ended) {
  (void)co_await signal.wait(stop);
  ++ended;
}

TEST(TaskScope, starts_a_task_at_once_and_counts_it_until_its_end) {
  TestLoop test;
  TaskScope scope;
  Signal go;
  int ended = 0;
  scope.spawn(wait_then_count(go, {}, ended));
  EXPECT_TRUE(go.has_waiter());
  EXPECT_EQ(scope.running(), 1);
  go.notify();
  test.run_turns(1);
  EXPECT_EQ(scope.running(), 0);
  EXPECT_EQ(ended, 1);
}

TEST(TaskScope, stop_and_join_ends_all_of_its_tasks) {
  TestLoop test;
  TaskScope scope;
  std::array<Signal, 5> never;
  int ended = 0;
  for (Signal& signal : never) scope.spawn(wait_then_count(signal, scope.token(), ended));
  const auto body = [](TaskScope& joined) -> Task<void> {
    joined.request_stop();
    co_await joined.join();
  };
  test.run(body(scope));
  EXPECT_EQ(ended, 5);
  EXPECT_EQ(scope.running(), 0);
}

TEST(TaskScope, may_be_destroyed_when_it_tells_that_it_is_idle) {
  TestLoop test;
  struct Owner {
    TaskScope scope;
    bool* gone;
    ~Owner() { *gone = true; }
  };
  bool gone = false;
  auto* owner = new Owner{.scope = {}, .gone = &gone};
  owner->scope.on_idle([](void* context) { delete static_cast<Owner*>(context); }, owner);
  Signal go;
  int ended = 0;
  owner->scope.spawn(wait_then_count(go, {}, ended));
  go.notify();
  test.run_until([&] { return gone; });
  EXPECT_EQ(ended, 1);
}

TEST(TaskScope, tasks_may_spawn_more) {
  TestLoop test;
  TaskScope scope;
  int ended = 0;
  struct Chain {
    static Task<void> run(TaskScope& scope, int left, int& ended) {
      if (left > 0) scope.spawn(run(scope, left - 1, ended));
      ++ended;
      co_return;
    }
  };
  scope.spawn(Chain::run(scope, 10, ended));
  EXPECT_EQ(ended, 11);
}

TEST(TaskScopeDeathTest, destroying_it_with_a_running_task_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Signal never;
        int ended = 0;
        auto scope = std::make_unique<TaskScope>();
        scope->spawn(wait_then_count(never, {}, ended));
        scope.reset();
      },
      "running_ == 0");
}

}  // namespace
}  // namespace weir::io
