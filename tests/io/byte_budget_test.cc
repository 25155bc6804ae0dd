#include "io/byte_budget.h"

#include <gtest/gtest.h>

#include <list>
#include <thread>
#include <vector>

namespace weir::io {
namespace {

TEST(ByteBudget, shares_grow_up_to_the_budget_among_them) {
  ByteBudget budget("test", 100);
  ByteBudget::Share one(budget);
  EXPECT_TRUE(one.grow(60));
  {
    ByteBudget::Share two(budget);
    EXPECT_TRUE(two.grow(40));
    EXPECT_FALSE(two.grow(1));
    EXPECT_FALSE(one.grow(1));
    EXPECT_EQ(budget.held(), 100U);
  }
  EXPECT_EQ(budget.held(), 60U);
  EXPECT_TRUE(one.grow(40));
}

TEST(ByteBudget, keeps_its_last_part_for_small_shares) {
  constexpr std::uint64_t kAll = 80 * kSmallShareBytes;
  ByteBudget budget("reserving", kAll);
  ByteBudget::Share large(budget);
  EXPECT_TRUE(large.grow(kAll - kAll / kBudgetPartForSmall));
  EXPECT_FALSE(large.grow(1));
  ByteBudget::Share growing(budget);
  EXPECT_TRUE(growing.grow(kSmallShareBytes));
  EXPECT_FALSE(growing.grow(1));  // no longer small
  std::list<ByteBudget::Share> small;
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(small.emplace_back(budget).grow(kSmallShareBytes));
  EXPECT_EQ(budget.held(), kAll);
  EXPECT_FALSE(small.emplace_back(budget).grow(1));
}

TEST(ByteBudget, counts_what_it_refused) {
  ByteBudget budget("refusing", 10);
  ByteBudget::Share share(budget);
  EXPECT_FALSE(share.grow(11));
  EXPECT_TRUE(share.grow(7));
  EXPECT_EQ(Metrics::instance().value("weir_held_refused_total", "what=\"refusing\""), 1);
  EXPECT_EQ(Metrics::instance().value("weir_held_bytes", "what=\"refusing\""), 7);
}

TEST(ByteBudget, holds_under_many_threads) {
  ByteBudget budget("threads", 1000);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&budget] {
      for (int n = 0; n < 2000; ++n) {
        ByteBudget::Share share(budget);
        while (share.grow(100)) {
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.held(), 0U);
}

}  // namespace
}  // namespace weir::io
