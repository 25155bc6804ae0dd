// What the house asks of a compiler's coroutines: every pattern the code relies on, with objects
// that count their constructions and destructions. g++ 12.2 fails several of these rows (coroutines
// that never complete, temporaries destroyed twice); a compiler that fails one here must not build
// Weir.

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/error.h"
#include "io/task.h"
#include "io/task_scope.h"

namespace weir::io {
namespace {

// Alive objects of this type; copies and moves count as objects of their own.
struct Counted {
  explicit Counted(int initial = 0) : value(initial) { ++alive; }
  Counted(const Counted& other) : value(other.value) { ++alive; }
  Counted(Counted&& other) noexcept : value(std::exchange(other.value, -1)) { ++alive; }
  Counted& operator=(const Counted&) = default;
  Counted& operator=(Counted&&) = default;
  ~Counted() { --alive; }
  int value;
  static inline int alive = 0;
};

struct Aggregate {
  Counted first;
  Counted second;
  std::string text;
};

// Suspends; the test resumes it by hand, so that every row really crosses a suspension.
struct Pause {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> awaiting) const noexcept {
    paused.push_back(awaiting);
  }
  void await_resume() const noexcept {}
  static inline std::vector<std::coroutine_handle<>> paused;
};

template <typename T>
Task<T> later(T value) {
  co_await Pause{};
  co_return value;
}
Task<int> yes() {
  return later(1);
}
Task<int> no() {
  return later(0);
}
Task<int> by_value(Aggregate aggregate) {
  co_await Pause{};
  co_return aggregate.first.value + aggregate.second.value +
      static_cast<int>(aggregate.text.size());
}
Task<int> by_const_reference(const Aggregate& aggregate) {
  co_await Pause{};
  co_return aggregate.first.value + aggregate.second.value;
}
Task<int> by_rvalue(Aggregate&& aggregate) {
  co_await Pause{};
  co_return aggregate.first.value + aggregate.second.value;
}
template <typename Function>
Task<int> call_later(Function function) {
  co_await Pause{};
  co_return function();
}
Task<int> length_of(const std::string& text) {
  co_await Pause{};
  co_return static_cast<int>(text.size());
}
Task<int> take_pointer(std::unique_ptr<int> pointer) {
  co_await Pause{};
  co_return *pointer;
}

class CoroutineConformance : public testing::Test {
 protected:
  void SetUp() override {
    Counted::alive = 0;
    frames_before_ = frames_live();
  }
  void TearDown() override {
    EXPECT_EQ(Counted::alive, 0) << "an object was destroyed twice, or never";
    EXPECT_EQ(frames_live(), frames_before_);
  }
  int run(Task<int> task) {
    std::optional<int> result;
    TaskScope scope;
    scope.spawn(store(std::move(task), result));
    for (int steps = 0; !Pause::paused.empty() && steps < 1000; ++steps) {
      const std::coroutine_handle<> next = Pause::paused.back();
      Pause::paused.pop_back();
      next.resume();
    }
    EXPECT_TRUE(result.has_value()) << "the coroutine never completed";
    return result.value_or(-1);
  }
  static Task<void> store(Task<int> task, std::optional<int>& result) {
    result = co_await std::move(task);
  }

 private:
  std::int64_t frames_before_ = 0;
};

// --- co_await inside expressions and conditions, in bodies that declare no local variable
// ------------

Task<int> in_if() {
  if (co_await yes()) co_return 1;
  co_return 2;
}
Task<int> in_negated_if() {
  if (!co_await no()) co_return 1;
  co_return 2;
}
Task<int> in_or() {
  if (co_await no() || co_await yes()) co_return 1;
  co_return 2;
}
Task<int> in_and() {
  if (co_await yes() && co_await yes()) co_return 1;
  co_return 2;
}
Task<int> in_switch() {
  switch (co_await yes()) {
    case 1:
      co_return 1;
    default:
      co_return 2;
  }
}
Task<int> in_while() {
  while (co_await no()) {
  }
  co_return 1;
}
Task<int> in_return() {
  co_return co_await yes();
}

TEST_F(CoroutineConformance, awaits_in_conditions) {
  EXPECT_EQ(run(in_if()), 1);
  EXPECT_EQ(run(in_negated_if()), 1);
  EXPECT_EQ(run(in_or()), 1);
  EXPECT_EQ(run(in_and()), 1);
  EXPECT_EQ(run(in_switch()), 1);
  EXPECT_EQ(run(in_while()), 1);
  EXPECT_EQ(run(in_return()), 1);
}

Task<int> with_initialiser() {
  if (const int value = co_await yes(); value == 1) co_return value;
  co_return 2;
}
Task<int> compound_assignment() {
  std::string text = "a";
  text += co_await later(std::string(100, 'b'));
  co_return static_cast<int>(text.size());
}
Task<int> range_for() {
  int sum = 0;
  for (const Counted& item : co_await later(std::vector<Counted>(3, Counted(5)))) {
    sum += item.value + co_await no();
  }
  co_return sum;
}
Task<int> structured_binding() {
  const auto [left, right] = co_await later(std::pair<Counted, Counted>(Counted(3), Counted(4)));
  co_return left.value + right.value;
}
Task<int> conditional_operator(bool wait) {
  const std::string text = wait ? co_await later(std::string(40, 'x')) : std::string(50, 'y');
  const Counted counted = wait ? Counted(co_await yes()) : Counted(7);
  co_return static_cast<int>(text.size()) + counted.value;
}
Task<int> nested_call() {
  co_return co_await later(co_await later(co_await yes() + 1) + 1);
}

TEST_F(CoroutineConformance, awaits_in_initialisers_and_expressions) {
  EXPECT_EQ(run(with_initialiser()), 1);
  EXPECT_EQ(run(compound_assignment()), 101);
  EXPECT_EQ(run(range_for()), 15);
  EXPECT_EQ(run(structured_binding()), 7);
  EXPECT_EQ(run(conditional_operator(true)), 41);
  EXPECT_EQ(run(conditional_operator(false)), 57);
  EXPECT_EQ(run(nested_call()), 3);
}

// --- temporaries in await expressions are destroyed once
// -------------------------------------------

Task<int> lambda_temporary() {
  co_return co_await call_later([held = Counted(9)] { return held.value; });
}
Task<int> captureless_lambda() {
  co_return co_await call_later([] { return 9; });
}
Task<int> aggregate_temporaries() {
  const int value = co_await by_value(Aggregate{Counted(1), Counted(2), "abc"});
  const int designated =
      co_await by_value({.first = Counted(1), .second = Counted(2), .text = "abc"});
  const int reference = co_await by_const_reference(Aggregate{Counted(1), Counted(2), ""});
  const int rvalue = co_await by_rvalue({Counted(1), Counted(2), ""});
  co_return value + 10 * designated + 100 * reference + 1000 * rvalue;
}
Task<int> aggregate_of_awaits() {
  const Aggregate aggregate{co_await later(Counted(4)), co_await later(Counted(5)),
                            co_await later(std::string(60, 'z'))};
  co_return aggregate.first.value + aggregate.second.value +
      static_cast<int>(aggregate.text.size());
}
Task<int> list_of_awaits() {
  const std::vector<int> list = {co_await yes(), co_await no(), co_await yes()};
  co_return list[0] + list[1] + list[2];
}
Task<int> class_temporaries() {
  const int length = co_await length_of(std::string(70, 'q'));
  auto named = std::make_unique<int>(5);
  const int moved = co_await take_pointer(std::move(named));
  const int temporary = co_await take_pointer(std::make_unique<int>(6));
  co_return length + moved + temporary;
}

TEST_F(CoroutineConformance, destroys_temporaries_of_await_expressions_once) {
  EXPECT_EQ(run(lambda_temporary()), 9);
  EXPECT_EQ(run(captureless_lambda()), 9);
  EXPECT_EQ(run(aggregate_temporaries()), 6 + 60 + 300 + 3000);
  EXPECT_EQ(run(aggregate_of_awaits()), 69);
  EXPECT_EQ(run(list_of_awaits()), 2);
  EXPECT_EQ(run(class_temporaries()), 81);
}

// --- parameters, results and frames
// ----------------------------------------------------------------

Task<int> keeps_parameter(Counted parameter) {
  const Counted local = co_await later(Counted(1));
  co_return parameter.value + local.value;
}

TEST_F(CoroutineConformance, parameters_live_in_the_frame) {
  Counted mine(10);
  EXPECT_EQ(run(keeps_parameter(mine)), 11);
  EXPECT_EQ(run(keeps_parameter(std::move(mine))), 11);
}

TEST_F(CoroutineConformance, a_task_that_never_started_frees_its_parameters) {
  {
    const Task<int> task = keeps_parameter(Counted(3));
  }
  Task<int> replaced = keeps_parameter(Counted(3));
  replaced = keeps_parameter(Counted(4));
  EXPECT_EQ(run(std::move(replaced)), 5);
}

TEST_F(CoroutineConformance, a_suspended_chain_can_be_destroyed_from_the_outside) {
  {
    Task<int> chain = keeps_parameter(Counted(3));
    // Start it by hand: to its first suspension and no further.
    auto awaiter = std::move(chain).operator co_await();
    awaiter.await_suspend(std::noop_coroutine()).resume();
    ASSERT_EQ(Pause::paused.size(), 1u);
    Pause::paused.clear();
  }
}

Task<Result<Counted>> fallible(bool good) {
  co_await Pause{};
  if (!good) co_return fail(Errc::closed, "test");
  co_return Counted(8);
}
Task<int> propagates(bool good) {
  Result<Counted> result = co_await fallible(good);
  if (!result) co_return -static_cast<int>(result.error().code);
  co_return result->value;
}

TEST_F(CoroutineConformance, carries_results_and_errors_as_values) {
  EXPECT_EQ(run(propagates(true)), 8);
  EXPECT_EQ(run(propagates(false)), -static_cast<int>(Errc::closed));
}

// --- symmetric transfer is a tail call
// -------------------------------------------------------------

Task<int> immediate(int value) {
  co_return value;
}
Task<int> long_loop(int rounds) {
  int sum = 0;
  for (int i = 0; i < rounds; ++i) sum += co_await immediate(1);
  co_return sum;
}
Task<int> deep(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await deep(depth - 1);
}

TEST_F(CoroutineConformance, awaiting_ready_tasks_does_not_grow_the_stack) {
  EXPECT_EQ(run(long_loop(1'000'000)), 1'000'000);
}

TEST_F(CoroutineConformance, a_deep_chain_unwinds_without_growing_the_stack) {
  EXPECT_EQ(run(deep(100'000)), 100'000);
}

}  // namespace
}  // namespace weir::io
