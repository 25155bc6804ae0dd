#include "server/maintenance_schedule.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

using namespace std::chrono_literals;

class MaintenanceScheduleTest : public testing::Test {
 protected:
  static std::shared_ptr<const git::Repository> repository(std::size_t number) {
    auto made = std::make_shared<git::Repository>();
    made->id.bytes[0] = static_cast<std::uint8_t>(number);
    made->id.bytes[1] = static_cast<std::uint8_t>(number >> 8);
    made->name = "acme/" + std::to_string(number);
    return made;
  }
  // "" if none is due.
  std::string next(MaintenanceSchedule& schedule) const {
    const auto taken = schedule.next(now_);
    return taken == nullptr ? "" : taken->name;
  }

  io::Instant now_ = io::Instant{} + 1h;
  MaintenanceSchedule schedule_{{.enabled = true, .quiet_s = 60, .interval_s = 600}};
};

TEST_F(MaintenanceScheduleTest, takes_a_repository_once_it_rests) {
  EXPECT_EQ(next(schedule_), "");
  schedule_.pushed(repository(1), now_);
  now_ += 59s;
  EXPECT_EQ(next(schedule_), "");
  schedule_.pushed(repository(1), now_);
  now_ += 59s;
  EXPECT_EQ(next(schedule_), "") << "pushed to again";
  now_ += 1s;
  EXPECT_EQ(next(schedule_), "acme/1");
  schedule_.ended(*repository(1), now_);
  now_ += 24h;
  EXPECT_EQ(next(schedule_), "") << "nobody has pushed since";
}

TEST_F(MaintenanceScheduleTest, takes_one_that_never_rests_after_the_interval) {
  for (auto passed = 0s; passed < 600s; passed += 30s) {
    schedule_.pushed(repository(1), now_);
    EXPECT_EQ(next(schedule_), "") << passed.count();
    now_ += 30s;
  }
  EXPECT_EQ(next(schedule_), "acme/1");
}

TEST_F(MaintenanceScheduleTest, runs_one_at_a_time_the_longest_waiting_first) {
  schedule_.pushed(repository(1), now_);
  schedule_.pushed(repository(2), now_ + 1s);
  now_ += 2min;
  EXPECT_EQ(next(schedule_), "acme/1");
  EXPECT_EQ(next(schedule_), "");
  schedule_.ended(*repository(1), now_);
  EXPECT_EQ(next(schedule_), "acme/2");
}

TEST_F(MaintenanceScheduleTest, lets_an_interval_go_by_and_forgets_no_push_meanwhile) {
  schedule_.pushed(repository(1), now_);
  now_ += 1min;
  EXPECT_EQ(next(schedule_), "acme/1");
  schedule_.pushed(repository(1), now_);  // while it is maintained
  now_ += 5min;
  schedule_.ended(*repository(1), now_);
  now_ += 599s;
  EXPECT_EQ(next(schedule_), "");
  now_ += 1s;
  EXPECT_EQ(next(schedule_), "acme/1");
}

TEST_F(MaintenanceScheduleTest, notes_no_more_than_its_bound) {
  for (std::size_t i = 0; i < kMaintenanceNotedMax + 10; ++i) {
    schedule_.pushed(repository(i), now_);
  }
  std::size_t taken = 0;
  now_ += 2min;
  while (const auto repository = schedule_.next(now_)) {
    schedule_.ended(*repository, now_);
    ++taken;
  }
  EXPECT_EQ(taken, kMaintenanceNotedMax);
  now_ += 1h;
  EXPECT_EQ(next(schedule_), "");
  schedule_.pushed(repository(kMaintenanceNotedMax + 1), now_);
  now_ += 2min;
  EXPECT_NE(next(schedule_), "") << "there is room again";
}

TEST_F(MaintenanceScheduleTest, notes_nothing_where_it_is_switched_off) {
  MaintenanceSchedule off{{.enabled = false}};
  off.pushed(repository(1), now_);
  now_ += 24h;
  EXPECT_EQ(next(off), "");
}

}  // namespace
}  // namespace weir::server
