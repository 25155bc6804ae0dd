#include "io/tls_tickets.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace weir::io {
namespace {

constexpr std::int64_t kNow = 1'700'000'000'000'000'000;
constexpr std::int64_t kPeriod = kTicketRotation.count();

bool knows(const TicketKeys& keys, const TicketKey& wanted, bool renew_wanted) {
  TicketKey key;
  bool renew = false;
  return keys.find(wanted.name.data(), key, renew) && key.aes_key == wanted.aes_key &&
         key.hmac_key == wanted.hmac_key && renew == renew_wanted;
}

TEST(TicketKeys, a_ticket_lives_two_periods_and_is_renewed_in_the_second) {
  auto keys = TicketKeys::create(kNow).value();
  const TicketKey first = keys->current();
  EXPECT_TRUE(knows(*keys, first, false));
  keys->rotate_if_due(kNow + kPeriod - 1);
  EXPECT_EQ(keys->current().name, first.name);
  keys->rotate_if_due(kNow + kPeriod);
  EXPECT_NE(keys->current().name, first.name);
  EXPECT_TRUE(knows(*keys, first, true));
  keys->rotate_if_due(kNow + 2 * kPeriod);
  EXPECT_FALSE(knows(*keys, first, true));
}

TEST(TicketKeys, the_next_key_is_known_before_it_is_current) {
  const int fd = memfd_create("keys", MFD_CLOEXEC);
  auto early = TicketKeys::open_shared(fd, kNow).value();
  auto late = TicketKeys::open_shared(fd, kNow).value();
  early->rotate_if_due(kNow + kPeriod);
  EXPECT_TRUE(knows(*late, early->current(), false));
  close(fd);
}

TEST(TicketKeys, a_long_sleep_replaces_all_keys_and_restarts_the_period) {
  auto keys = TicketKeys::create(kNow).value();
  const TicketKey first = keys->current();
  keys->rotate_if_due(kNow + 50 * kPeriod);
  EXPECT_FALSE(knows(*keys, first, true));
  const TicketKey second = keys->current();
  keys->rotate_if_due(kNow + 50 * kPeriod + 1);
  EXPECT_EQ(keys->current().name, second.name);
}

TEST(TicketKeys, processes_with_one_descriptor_agree_after_either_rotates) {
  const int fd = memfd_create("keys", MFD_CLOEXEC);
  auto first = TicketKeys::open_shared(fd, kNow).value();
  auto second = TicketKeys::open_shared(fd, kNow + 5).value();
  EXPECT_EQ(first->current().name, second->current().name);
  second->rotate_if_due(kNow + kPeriod);
  first->rotate_if_due(kNow + kPeriod + 1);
  EXPECT_EQ(first->current().name, second->current().name);
  EXPECT_EQ(first->current().aes_key, second->current().aes_key);
  close(fd);
}

TEST(TicketKeys, a_file_of_the_wrong_size_is_filled_anew) {
  const int fd = memfd_create("keys", MFD_CLOEXEC);
  ASSERT_EQ(write(fd, "short", 5), 5);
  auto first = TicketKeys::open_shared(fd, kNow).value();
  auto second = TicketKeys::open_shared(fd, kNow).value();
  EXPECT_EQ(first->current().name, second->current().name);
  close(fd);
}

TEST(TicketKeys, an_unusable_descriptor_is_an_error) {
  EXPECT_FALSE(TicketKeys::open_shared(-1, kNow).has_value());
}

}  // namespace
}  // namespace weir::io
