#include "git/sync_coalescer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <semaphore>

#include "tests/io/test_loop.h"

namespace weir::git {
namespace {

io::Task<void> sync_one(SyncCoalescer& coalescer, int& ok, int& failed) {
  const io::Result<void> synced = co_await coalescer.sync("/tmp");
  ++(synced ? ok : failed);
}

class SyncCoalescerTest : public testing::Test {
 protected:
  int sync() {
    ++syncs;
    may_end.acquire();
    if (error == 0) return 0;
    errno = error;
    return -1;
  }

  io::TestLoop test;
  std::atomic<int> syncs{0};
  std::atomic<int> error{0};
  std::counting_semaphore<> may_end{0};
  int ok = 0;
  int failed = 0;
  io::TaskScope scope;
  io::BlockingThreads pool{2};
  SyncCoalescer coalescer{pool, [this](int) { return sync(); }};
};

TEST_F(SyncCoalescerTest, those_who_ask_during_a_sync_share_the_next_one) {
  scope.spawn(sync_one(coalescer, ok, failed));
  test.run_until([&] { return syncs == 1; });
  for (int i = 0; i < 5; ++i) scope.spawn(sync_one(coalescer, ok, failed));
  // Each of them opens the folder on the pool; give those jobs to the end of the mailbox.
  test.run_until([&] { return pool.queued() == 0; });
  test.run_turns(3);
  EXPECT_EQ(ok, 0);
  may_end.release(1);
  test.run_until([&] { return syncs == 2; });
  EXPECT_EQ(ok, 1);
  may_end.release(10);
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(ok, 6);
  EXPECT_LE(syncs, 3);  // not one a caller
}

TEST_F(SyncCoalescerTest, a_failed_sync_fails_everybody_who_shared_it) {
  error = EIO;
  may_end.release(10);
  for (int i = 0; i < 3; ++i) scope.spawn(sync_one(coalescer, ok, failed));
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(failed, 3);
}

TEST_F(SyncCoalescerTest, a_missing_folder_is_a_failure) {
  const io::Result<void> synced = test.run(coalescer.sync("/nonexistent"));
  ASSERT_FALSE(synced.has_value());
  EXPECT_EQ(synced.error().sys_errno, ENOENT);
}

TEST(SyncCoalescer, syncs_a_real_file_system) {
  io::TestLoop test;
  io::BlockingThreads pool(1);
  SyncCoalescer coalescer(pool);
  EXPECT_TRUE(test.run(coalescer.sync("/tmp")).has_value());
}

}  // namespace
}  // namespace weir::git
