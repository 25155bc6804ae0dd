#include "io/mailbox.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <thread>
#include <vector>

namespace weir::io {
namespace {

TEST(Mailbox, runs_what_waited_in_order_and_what_is_posted_meanwhile_next_time) {
  Mailbox mailbox;
  std::vector<int> ran;
  EXPECT_TRUE(mailbox.push([&] {
    ran.push_back(1);
    EXPECT_TRUE(mailbox.push([&] { ran.push_back(3); }));
  }));
  EXPECT_FALSE(mailbox.push([&] { ran.push_back(2); }));
  EXPECT_EQ(mailbox.waiting(), 2U);
  mailbox.run();
  EXPECT_EQ(ran, (std::vector<int>{1, 2}));
  EXPECT_FALSE(mailbox.empty());
  mailbox.run();
  EXPECT_EQ(ran, (std::vector<int>{1, 2, 3}));
  EXPECT_TRUE(mailbox.empty());
  EXPECT_EQ(mailbox.waiting(), 0U);
}

TEST(Mailbox, frees_what_was_never_run) {
  const auto held = std::make_shared<int>(0);
  {
    Mailbox mailbox;
    mailbox.push([held] {});
    mailbox.push([held] {});
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Mailbox, keeps_the_order_of_each_poster_and_tells_one_of_them_to_wake_the_owner) {
  constexpr int kPosters = 4;
  constexpr int kMessages = 20'000;
  Mailbox mailbox;
  std::array<int, kPosters> next{};
  std::atomic<int> told{0};
  std::vector<std::thread> posters;
  for (int poster = 0; poster < kPosters; ++poster) {
    posters.emplace_back([&, poster] {
      for (int i = 0; i < kMessages; ++i) {
        const bool first = mailbox.push([&next, poster, i] {
          EXPECT_EQ(next[static_cast<std::size_t>(poster)], i);
          ++next[static_cast<std::size_t>(poster)];
        });
        if (first) told.fetch_add(1);
      }
    });
  }
  int batches = 0;
  for (int left = kPosters * kMessages; left > 0;) {
    if (mailbox.empty()) continue;
    ++batches;
    mailbox.run();
    left = kPosters * kMessages;
    for (const int ran : next) left -= ran;
  }
  for (std::thread& poster : posters) poster.join();
  EXPECT_EQ(told.load(), batches);
  EXPECT_TRUE(mailbox.empty());
}

}  // namespace
}  // namespace weir::io
