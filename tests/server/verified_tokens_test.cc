#include "server/verified_tokens.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

constexpr std::uint64_t kVersion = 7;
constexpr std::int64_t kNow = 1'000'000;

Principal principal(std::int64_t expires_unix_s = 0) {
  return {.token_id = "id",
          .subject = "robot",
          .tenant = "t",
          .scopes = 1,
          .expires_unix_s = expires_unix_s};
}

TEST(VerifiedTokens, knows_the_same_value_again_and_no_other) {
  VerifiedTokens verified;
  const auto key = VerifiedTokens::key_of("Bearer a");
  EXPECT_EQ(verified.find(key, kVersion, kNow), nullptr);
  verified.remember(key, kVersion, principal());
  const Principal* found = verified.find(key, kVersion, kNow);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->subject, "robot");
  EXPECT_EQ(verified.find(VerifiedTokens::key_of("Bearer b"), kVersion, kNow), nullptr);
  EXPECT_EQ(verified.find(VerifiedTokens::key_of("bearer a"), kVersion, kNow), nullptr);
}

TEST(VerifiedTokens, compares_all_of_the_digest) {
  VerifiedTokens verified;
  const auto key = VerifiedTokens::key_of("Bearer a");
  verified.remember(key, kVersion, principal());
  for (const std::size_t byte : {4UL, 17UL, 31UL}) {  // those before choose the place
    auto other = key;
    other[byte] ^= 1;
    EXPECT_EQ(verified.find(other, kVersion, kNow), nullptr) << byte;
  }
}

TEST(VerifiedTokens, forgets_with_another_version_of_the_store_and_when_cleared) {
  VerifiedTokens verified;
  const auto key = VerifiedTokens::key_of("Bearer a");
  verified.remember(key, kVersion, principal());
  EXPECT_EQ(verified.find(key, kVersion + 1, kNow), nullptr);
  EXPECT_NE(verified.find(key, kVersion, kNow), nullptr);
  verified.clear();
  EXPECT_EQ(verified.find(key, kVersion, kNow), nullptr);
}

TEST(VerifiedTokens, looks_at_the_expiry_each_time) {
  VerifiedTokens verified;
  const auto key = VerifiedTokens::key_of("Bearer a");
  verified.remember(key, kVersion, principal(kNow + 1));
  EXPECT_NE(verified.find(key, kVersion, kNow), nullptr);
  EXPECT_EQ(verified.find(key, kVersion, kNow + 1), nullptr);
}

TEST(VerifiedTokens, gives_a_place_to_the_newer_of_two) {
  VerifiedTokens verified;
  for (std::size_t i = 0; i < 4 * kVerifiedTokens; ++i) {
    const auto key = VerifiedTokens::key_of("Bearer " + std::to_string(i));
    verified.remember(key, kVersion, principal());
    EXPECT_NE(verified.find(key, kVersion, kNow), nullptr);
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < 4 * kVerifiedTokens; ++i) {
    const auto key = VerifiedTokens::key_of("Bearer " + std::to_string(i));
    if (verified.find(key, kVersion, kNow) != nullptr) ++kept;
  }
  EXPECT_GT(kept, kVerifiedTokens / 2);
  EXPECT_LE(kept, kVerifiedTokens);
}

}  // namespace
}  // namespace weir::server
