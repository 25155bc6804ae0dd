#include "git/plan_herd.h"

#include <deque>

#include "tests/git/plan_fixture.h"

namespace weir::git {
namespace {

class PlanHerdTest : public PlanFixture {
 protected:
  // One call of a planner; the test says when and how it ends.
  struct Call {
    io::Deadline deadline;
    io::Signal signal;
    std::optional<io::Result<Planned>> answer;
    bool ended = false;
    bool cancelled = false;

    void end(io::Result<Planned> with) {
      answer = std::move(with);
      signal.notify();
    }
  };
  // One who asks.
  struct Asker {
    io::StopSource stop;
    std::optional<io::Result<Planned>> got;
  };

  ~PlanHerdTest() override {
    bool closed = false;
    scope.spawn(close(closed));
    turn();
    EXPECT_TRUE(closed);
  }
  io::Task<void> close(bool& closed) {
    co_await herd.close();
    closed = true;
  }
  static io::Task<io::Result<Planned>> call(std::deque<Call>& calls, io::StopToken stop,
                                            io::Deadline deadline) {
    Call& self = calls.emplace_back();
    self.deadline = deadline;
    const io::Result<void> waited = co_await self.signal.wait(stop, deadline);
    self.ended = true;
    self.cancelled = stop.stopped();
    if (!waited) co_return std::unexpected(waited.error());
    co_return *self.answer;
  }
  io::Task<void> ask_into(Asker& asker, PlanKeys asked, io::Deadline deadline) {
    auto planner = [this](io::StopToken stop, io::Deadline until) {
      return call(calls, stop, until);
    };
    asker.got = co_await herd.plan(std::make_shared<const Repository>(repository("tenant/a")),
                                   asked, std::move(planner), io::StopToken(asker.stop), deadline);
  }
  static io::Task<io::Result<Planned>> answer_at_once(Planned reply) { co_return reply; }
  io::Task<void> ask_at_once(Asker& asker) {
    auto planner = [this](io::StopToken, io::Deadline) { return answer_at_once(planned(7)); };
    asker.got = co_await herd.plan(std::make_shared<const Repository>(repository("tenant/a")),
                                   keys(request), std::move(planner), {}, io::Deadline::never());
  }
  Asker& ask(const PlanRequest& asked, io::Duration patience = 30s,
             std::string_view digest = "digest") {
    Asker& asker = askers.emplace_back();
    scope.spawn(ask_into(asker, keys(asked, digest), io::Deadline::after(clock.now(), patience)));
    turn();
    return asker;
  }
  // What the asker got was made with it; 0: nothing yet.
  static std::uint64_t seed(const Asker& asker) {
    return asker.got && *asker.got ? (*asker.got)->reply->cpu_us : 0;
  }
  static PlanStatus status(const Asker& asker) { return (*asker.got)->reply->status; }

  const PlanRequest request = {.wants = {object(1)}};
  std::deque<Call> calls;
  std::deque<Asker> askers;
  PlanHerd herd{loop};
  io::TaskScope scope;
};

TEST_F(PlanHerdTest, who_asks_for_the_same_at_the_same_time_shares_one_plan) {
  for (int i = 0; i < 100; ++i) ask(request);
  ask({.wants = {object(2)}});
  ASSERT_EQ(calls.size(), 2U);
  calls[0].end(planned(7));
  turn();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seed(askers[static_cast<std::size_t>(i)]), 7U);
  EXPECT_FALSE(askers[100].got);
  calls[1].end(planned(8));
  turn();
  EXPECT_EQ(seed(askers[100]), 8U);
}

TEST_F(PlanHerdTest, who_comes_later_is_answered_at_once) {
  ask(request);
  calls[0].end(planned(7));
  turn();
  EXPECT_EQ(seed(ask(request, 30s, "other")), 7U);
  EXPECT_EQ(calls.size(), 1U);
}

TEST_F(PlanHerdTest, those_who_may_not_see_the_same_do_not_wait_for_each_other) {
  ask(request, 30s, "digest");
  ask(request, 30s, "other");
  ASSERT_EQ(calls.size(), 2U);
  calls[0].end(planned(7, 0, 1));
  turn();
  EXPECT_EQ(seed(askers[0]), 7U);
  EXPECT_FALSE(askers[1].got);
  calls[1].end(planned(8));
  turn();
  EXPECT_EQ(seed(askers[1]), 8U);
}

TEST_F(PlanHerdTest, a_plan_goes_on_when_the_one_who_came_first_leaves) {
  Asker& first = ask(request);
  Asker& second = ask(request);
  first.stop.request_stop();
  turn();
  ASSERT_TRUE(first.got);
  EXPECT_EQ(first.got->error().code, io::Errc::cancelled);
  EXPECT_FALSE(calls[0].ended);
  calls[0].end(planned(7));
  turn();
  EXPECT_EQ(seed(second), 7U);
  EXPECT_EQ(calls.size(), 1U);
}

TEST_F(PlanHerdTest, a_plan_is_cancelled_when_the_last_leaves_and_who_comes_then_has_a_new_one) {
  Asker& first = ask(request);
  Asker& second = ask(request);
  second.stop.request_stop();
  turn();
  EXPECT_FALSE(calls[0].ended);
  first.stop.request_stop();
  turn();
  EXPECT_TRUE(calls[0].cancelled);
  Asker& third = ask(request);
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_FALSE(third.got);
  calls[1].end(planned(7));
  turn();
  EXPECT_EQ(seed(third), 7U);
  EXPECT_EQ(second.got->error().code, io::Errc::cancelled);
}

TEST_F(PlanHerdTest, everybody_waits_as_long_as_his_own_deadline_says) {
  Asker& patient = ask(request, 30s);
  Asker& hasty = ask(request, 1s);
  pass(2s);
  ASSERT_TRUE(hasty.got);
  EXPECT_EQ(hasty.got->error().code, io::Errc::deadline_exceeded);
  EXPECT_FALSE(patient.got);
  calls[0].end(planned(7));
  turn();
  EXPECT_EQ(seed(patient), 7U);
}

TEST_F(PlanHerdTest, when_the_time_of_the_first_is_over_the_next_has_the_plan_made_in_his) {
  Asker& hasty = ask(request, 1s);
  Asker& patient = ask(request, 30s);
  pass(2s);
  ASSERT_TRUE(hasty.got);
  EXPECT_EQ(hasty.got->error().code, io::Errc::deadline_exceeded);
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_GT(calls[1].deadline.at, calls[0].deadline.at);
  calls[1].end(planned(7));
  turn();
  EXPECT_EQ(seed(patient), 7U);
}

TEST_F(PlanHerdTest, a_failure_is_tried_again_once_then_everybody_has_it) {
  for (int i = 0; i < 5; ++i) ask(request);
  calls[0].end(failed(PlanStatus::failed));
  turn();
  ASSERT_EQ(calls.size(), 2U);
  for (const Asker& asker : askers) EXPECT_FALSE(asker.got);
  calls[1].end(failed(PlanStatus::failed));
  turn();
  EXPECT_EQ(calls.size(), 2U);
  for (const Asker& asker : askers) EXPECT_EQ(status(asker), PlanStatus::failed);
}

TEST_F(PlanHerdTest, a_failure_that_the_next_does_better_is_nobodys) {
  for (int i = 0; i < 5; ++i) ask(request);
  calls[0].end(failed(PlanStatus::fallback, FallbackReason::planner));
  turn();
  ASSERT_EQ(calls.size(), 2U);
  calls[1].end(planned(7));
  turn();
  for (const Asker& asker : askers) EXPECT_EQ(seed(asker), 7U);
}

TEST_F(PlanHerdTest, who_is_alone_has_his_failure_at_once) {
  Asker& alone = ask(request);
  calls[0].end(failed(PlanStatus::failed));
  turn();
  EXPECT_EQ(status(alone), PlanStatus::failed);
  EXPECT_EQ(calls.size(), 1U);
}

TEST_F(PlanHerdTest, what_was_found_out_is_not_tried_again) {
  ask(request);
  Asker& second = ask(request);
  calls[0].end(failed(PlanStatus::fallback, FallbackReason::layout));
  turn();
  EXPECT_EQ(status(second), PlanStatus::fallback);
  EXPECT_EQ(calls.size(), 1U);
}

TEST_F(PlanHerdTest, a_failure_brings_no_storm_of_tries) {
  ask(request);
  calls[0].end(failed(PlanStatus::failed));
  turn();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(status(ask(request)), PlanStatus::failed);
  EXPECT_EQ(calls.size(), 1U);
  pass(2s);
  ask(request);
  EXPECT_EQ(calls.size(), 2U);
}

TEST_F(PlanHerdTest, a_full_queue_is_everybodys_and_forgotten_at_once) {
  Asker& first = ask(request);
  Asker& second = ask(request);
  calls[0].end(io::fail(io::Errc::limit, "queue"));
  turn();
  EXPECT_EQ(first.got->error().code, io::Errc::limit);
  EXPECT_EQ(second.got->error().code, io::Errc::limit);
  ask(request);
  EXPECT_EQ(calls.size(), 2U);
}

TEST_F(PlanHerdTest, more_than_may_wait_are_refused) {
  for (std::size_t i = 0; i < kPlanWaitersMax; ++i) {
    scope.spawn(ask_into(askers.emplace_back(), keys(request), io::Deadline::never()));
  }
  Asker& last = ask(request);
  ASSERT_TRUE(last.got);
  EXPECT_EQ(last.got->error().code, io::Errc::limit);
  EXPECT_FALSE(askers[0].got);
  calls[0].end(planned(7));
  turn();
  EXPECT_EQ(seed(askers[kPlanWaitersMax - 1]), 7U);
}

TEST_F(PlanHerdTest, a_planner_that_answers_at_once_is_no_special_case) {
  Asker asker;
  scope.spawn(ask_at_once(asker));
  turn();
  EXPECT_EQ(seed(asker), 7U);
}

TEST_F(PlanHerdTest, closing_ends_what_is_under_way_and_real_git_answers) {
  Asker& asker = ask(request);
  bool closed = false;
  scope.spawn(close(closed));
  turn();
  EXPECT_TRUE(closed);
  EXPECT_TRUE(calls[0].cancelled);
  EXPECT_EQ(status(asker), PlanStatus::fallback);
}

}  // namespace
}  // namespace weir::git
