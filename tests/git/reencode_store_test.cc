#include "git/reencode_store.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::git {
namespace {

TEST(ReencodeStore, keeps_an_object_whole_and_upon_each_base_apart) {
  ReencodeStore store;
  store.keep(1, kNoObject, "whole");
  store.keep(1, 2, "upon 2");
  store.keep(1, 3, "");
  EXPECT_EQ(*store.find(1, kNoObject), "whole");
  EXPECT_EQ(*store.find(1, 2), "upon 2");
  EXPECT_TRUE(store.find(1, 3)->empty());
  EXPECT_EQ(store.find(2, 1), nullptr);
}

TEST(ReencodeStore, lets_go_what_is_not_used) {
  ReencodeStore store;
  const std::string large(kReencodedBytesMax / 16, 'x');
  for (ObjectNumber i = 0; i < 40; ++i) {
    store.keep(i, kNoObject, large);
    ASSERT_NE(store.find(0, kNoObject), nullptr) << i;
  }
  unsigned kept = 0;
  for (ObjectNumber i = 1; i < 40; ++i) kept += store.find(i, kNoObject) != nullptr;
  EXPECT_GE(kept, 7U);
  EXPECT_LE(kept, 16U);
}

}  // namespace
}  // namespace weir::git
