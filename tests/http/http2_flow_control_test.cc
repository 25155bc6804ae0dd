#include "http/http2_flow_control.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <vector>

namespace weir::http {
namespace {

struct BudgetGuard {
  ~BudgetGuard() { set_upload_window_budget(kUploadWindowBudgetBytes); }
};

TEST(UploadWindow, returns_what_it_grew_by) {
  const std::int64_t before = upload_window_budget_used();
  {
    UploadWindow window(kStreamWindowBytes);
    EXPECT_TRUE(window.grow(kStreamWindowBytesMax));
    EXPECT_EQ(window.bytes(), kStreamWindowBytesMax);
    EXPECT_EQ(upload_window_budget_used() - before, kStreamWindowBytesMax - kStreamWindowBytes);
  }
  EXPECT_EQ(upload_window_budget_used(), before);
}

TEST(UploadWindow, never_shrinks) {
  UploadWindow window(kStreamWindowBytes);
  EXPECT_FALSE(window.grow(kStreamWindowBytes));
  EXPECT_FALSE(window.grow(0));
  EXPECT_EQ(window.bytes(), kStreamWindowBytes);
}

TEST(UploadWindow, stays_as_it_is_when_the_budget_is_spent) {
  const BudgetGuard guard;
  set_upload_window_budget(3 * (kStreamWindowBytesMax - kStreamWindowBytes));
  std::vector<std::unique_ptr<UploadWindow>> windows;
  int grown = 0;
  for (int i = 0; i < 10; ++i) {
    windows.push_back(std::make_unique<UploadWindow>(kStreamWindowBytes));
    if (windows.back()->grow(kStreamWindowBytesMax)) ++grown;
  }
  EXPECT_EQ(grown, 3);
  windows.erase(windows.begin());
  EXPECT_TRUE(windows.back()->grow(kStreamWindowBytesMax));
}

TEST(BandwidthDelay, is_unknown_for_what_is_no_tcp_connection) {
  std::array<int, 2> fds{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data()), 0);
  EXPECT_EQ(bandwidth_delay_bytes(fds[0]), 0);
  EXPECT_EQ(bandwidth_delay_bytes(-1), 0);
  close(fds[0]);
  close(fds[1]);
}

}  // namespace
}  // namespace weir::http
