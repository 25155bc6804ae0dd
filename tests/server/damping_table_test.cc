#include "server/damping_table.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

std::int64_t wrong_times(DampingTable& table, std::string_view address, std::string_view id,
                         int times, io::Instant now) {
  std::int64_t last = 0;
  for (int i = 0; i < times; ++i) last = table.wrong(address, id, now);
  return last;
}

TEST(DampingTable, damps_after_ten_wrong_ones_until_the_window_ends) {
  DampingTable table;
  io::ManualClock clock;
  EXPECT_EQ(wrong_times(table, "192.0.2.1", "id", 9, clock.now()), 0);
  clock.advance(minutes(4));
  EXPECT_EQ(table.wrong("192.0.2.1", "id", clock.now()), 0);
  EXPECT_EQ(table.wrong("192.0.2.1", "id", clock.now()), 360);
  clock.advance(seconds(300) + std::chrono::milliseconds(1));
  EXPECT_EQ(table.wrong("192.0.2.1", "id", clock.now()), 60);  // rounded up, never 0
  clock.advance(minutes(1));
  EXPECT_EQ(wrong_times(table, "192.0.2.1", "id", 10, clock.now()), 0);
  EXPECT_EQ(table.wrong("192.0.2.1", "id", clock.now()), 600);
}

TEST(DampingTable, tells_addresses_and_ids_apart) {
  DampingTable table;
  const io::Instant now{};
  EXPECT_GT(wrong_times(table, "192.0.2.1", "id", 11, now), 0);
  EXPECT_EQ(table.wrong("192.0.2.2", "id", now), 0);
  EXPECT_EQ(table.wrong("192.0.2.1", "other", now), 0);
  EXPECT_EQ(table.wrong("192.0.2.1", "", now), 0);
  EXPECT_GT(table.wrong("::ffff:192.0.2.1", "id", now), 0);
  EXPECT_EQ(table.wrong("somewhere", "id", now), 0);
}

TEST(DampingTable, counts_an_ipv6_network_of_64_bits_as_one) {
  DampingTable table;
  const io::Instant now{};
  EXPECT_GT(wrong_times(table, "2001:db8:1:2::1", "id", 11, now), 0);
  EXPECT_GT(table.wrong("2001:db8:1:2:ffff::9", "id", now), 0);
  EXPECT_EQ(table.wrong("2001:db8:1:3::1", "id", now), 0);
}

TEST(DampingTable, stays_within_its_bound) {
  DampingTable table(64);
  const io::Instant now{};
  for (int i = 0; i < 10'000; ++i) {
    table.wrong("192.0.2.1", "id" + std::to_string(i), now);
    EXPECT_LE(table.size(), 64U);
  }
}

TEST(DampingTable, forgets_the_least_recently_wrong_first) {
  DampingTable table(16);  // one entry a shard: any other key of its shard replaces it
  const io::Instant now{};
  EXPECT_GT(wrong_times(table, "192.0.2.1", "id", 11, now), 0);
  for (int i = 0; i < 1000; ++i) table.wrong("192.0.2.2", std::to_string(i), now);
  EXPECT_EQ(table.wrong("192.0.2.1", "id", now), 0);
}

}  // namespace
}  // namespace weir::server
