#include "http/http2_abuse.h"

#include <gtest/gtest.h>

namespace weir::http {
namespace {

using namespace std::chrono_literals;

const io::Instant kStart{io::Duration{1'000'000'000}};

TEST(Http2AbuseBudget, ends_after_a_hundred_resets_at_once) {
  Http2AbuseBudget budget(kStart);
  int resets = 1;
  while (budget.charge(Http2Offence::reset_before_response, kStart)) ++resets;
  EXPECT_EQ(resets, 100);
}

TEST(Http2AbuseBudget, lasts_for_ever_at_two_resets_a_second) {
  Http2AbuseBudget budget(kStart);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(budget.charge(Http2Offence::reset_before_response, kStart + i * 500ms)) << i;
  }
}

TEST(Http2AbuseBudget, lasts_for_ever_when_as_many_requests_are_completed_as_cancelled) {
  Http2AbuseBudget budget(kStart);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(budget.charge(Http2Offence::reset_before_response, kStart)) << i;
    budget.refund(kAbuseRefundCompletion);
  }
}

TEST(Http2AbuseBudget, never_holds_more_than_its_start) {
  Http2AbuseBudget budget(kStart);
  budget.refund(1'000'000);
  EXPECT_TRUE(budget.charge(Http2Offence::window_dribble, kStart + 1h));
  EXPECT_LT(budget.points(), kAbuseBudgetMax);
}

TEST(Http2AbuseBudget, has_a_name_for_each_offence) {
  for (std::size_t i = 0; i < kAbuseCosts.size(); ++i) {
    EXPECT_STRNE(to_string(static_cast<Http2Offence>(i)), "");
    EXPECT_GT(kAbuseCosts[i], 0);
  }
}

}  // namespace
}  // namespace weir::http
