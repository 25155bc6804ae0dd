#include "server/drain.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

using std::chrono::seconds;

class DrainTest : public testing::Test {
 protected:
  io::Instant at(int s) const { return began_ + seconds(s); }

  io::Instant began_{seconds(1000)};
  DrainLimits limits_{.accept = seconds(10),
                      .light = seconds(5),
                      .fetch = seconds(50),
                      .push = seconds(500),
                      .whole = seconds(100)};
};

TEST_F(DrainTest, accepts_for_a_while_and_never_longer_than_the_whole) {
  const Drain drain(limits_, began_);
  EXPECT_TRUE(drain.accepting(at(9)));
  EXPECT_FALSE(drain.accepting(at(10)));
  limits_.whole = seconds(3);
  const Drain short_one(limits_, began_);
  EXPECT_TRUE(short_one.accepting(at(2)));
  EXPECT_FALSE(short_one.accepting(at(3)));
  limits_.accept = {};
  EXPECT_FALSE(Drain(limits_, began_).accepting(began_));
}

TEST_F(DrainTest, gives_each_class_its_time_from_the_end_of_accepting_or_from_its_arrival) {
  const Drain drain(limits_, began_);
  EXPECT_EQ(drain.deadline(RequestClass::light, at(-700)), at(15));
  EXPECT_EQ(drain.deadline(RequestClass::light, at(9)), at(15));
  EXPECT_EQ(drain.deadline(RequestClass::light, at(20)), at(25));
  EXPECT_EQ(drain.deadline(RequestClass::fetch, at(0)), at(60));
}

TEST_F(DrainTest, lets_nothing_run_beyond_the_whole) {
  Drain drain(limits_, began_);
  EXPECT_EQ(drain.deadline(RequestClass::push, at(0)), at(100));
  EXPECT_EQ(drain.deadline(RequestClass::light, at(99)), at(100));
  EXPECT_FALSE(drain.over(at(99), true));
  EXPECT_TRUE(drain.over(at(100), true));
  EXPECT_FALSE(drain.hopeless(at(104)));
  EXPECT_TRUE(drain.hopeless(at(105)));
}

TEST_F(DrainTest, is_over_when_no_request_has_come_for_a_while_after_accepting) {
  Drain drain(limits_, began_);
  EXPECT_FALSE(drain.over(at(9), false));
  EXPECT_FALSE(drain.over(at(11), false));
  EXPECT_FALSE(drain.over(at(11), true));
  EXPECT_FALSE(drain.over(at(12), false));
  EXPECT_TRUE(drain.over(at(13), false));
}

}  // namespace
}  // namespace weir::server
