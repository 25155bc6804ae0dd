#include "git/object_id.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace weir::git {
namespace {

TEST(ObjectIdHash, ids_that_a_client_made_alike_do_not_meet) {
  constexpr std::size_t kIds = 20'000;
  for (const std::size_t place : {0U, 8U, 16U, 28U}) {
    std::unordered_set<std::size_t> hashes;
    for (std::size_t i = 0; i < kIds; ++i) {
      ObjectId id;
      id.bytes = 32;
      id.hash[place] = static_cast<std::uint8_t>(i);
      id.hash[place + 1] = static_cast<std::uint8_t>(i >> 8);
      hashes.insert(ObjectIdHash()(id));
    }
    EXPECT_GT(hashes.size(), kIds - 20) << place;  // by chance: less than one
  }
}

TEST(ObjectIdHash, the_same_id_has_the_same_hash) {
  const auto id = ObjectId::from_hex("0123456789abcdef0123456789abcdef01234567");
  ASSERT_TRUE(id.has_value());
  const ObjectId copy = *id;
  EXPECT_EQ(ObjectIdHash()(*id), ObjectIdHash()(copy));
  EXPECT_NE(ObjectIdHash()(*id), ObjectIdHash()(ObjectId{}));
}

}  // namespace
}  // namespace weir::git
