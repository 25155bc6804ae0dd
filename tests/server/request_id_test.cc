#include "server/request_id.h"

#include <gtest/gtest.h>

#include <set>

namespace weir::server {
namespace {

TEST(RequestId, is_sixteen_characters_that_can_be_read_out) {
  const io::ManualClock clock;
  const std::string id = make_request_id(clock);
  EXPECT_EQ(id.size(), 16U);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdefghjkmnpqrstvwxyz"), id.npos);
}

TEST(RequestId, is_unique_within_a_millisecond_and_sorts_by_time) {
  io::ManualClock clock;
  std::set<std::string> ids;
  for (int i = 0; i < 10'000; ++i) ids.insert(make_request_id(clock));
  EXPECT_EQ(ids.size(), 10'000U);
  clock.advance(std::chrono::milliseconds(1));
  EXPECT_GT(make_request_id(clock), *ids.rbegin());
}

}  // namespace
}  // namespace weir::server
