#include "io/semaphore.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace weir::io {
namespace {

TEST(Semaphore, gives_each_token_once) {
  Semaphore tokens;
  tokens.give(2);
  EXPECT_TRUE(tokens.take());
  EXPECT_TRUE(tokens.take(Duration::zero()));
  EXPECT_FALSE(tokens.take(Duration::zero()));
  EXPECT_FALSE(tokens.take(1ms));
}

TEST(Semaphore, wakes_as_many_waiters_as_there_are_tokens) {
  constexpr int kWaiters = 4;
  constexpr int kTokensEach = 10'000;
  Semaphore tokens;
  std::atomic<int> taken{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < kWaiters; ++i) {
    waiters.emplace_back([&] {
      for (int token = 0; token < kTokensEach; ++token) {
        EXPECT_TRUE(tokens.take(20s));
        taken.fetch_add(1);
      }
    });
  }
  for (int i = 0; i < kWaiters * kTokensEach; i += 2) tokens.give(2);
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(taken.load(), kWaiters * kTokensEach);
  EXPECT_FALSE(tokens.take(Duration::zero()));
}

}  // namespace
}  // namespace weir::io
