#include "http/http2_flow_control.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>

namespace weir::http {
namespace {

constexpr std::uint32_t kShortRoundTripUs = 1000;  // 256 KiB a millisecond is 256 MB/s already

std::atomic<std::int64_t> budget_bytes{kUploadWindowBudgetBytes};
std::atomic<std::int64_t> used_bytes{0};

}  // namespace

void set_upload_window_budget(std::int64_t bytes) {
  budget_bytes.store(bytes, std::memory_order_relaxed);
}

std::int64_t upload_window_budget_used() {
  return used_bytes.load(std::memory_order_relaxed);
}

std::int64_t bandwidth_delay_bytes(int fd) {
  tcp_info info{};
  socklen_t bytes = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return 0;
  if (info.tcpi_rcv_rtt < kShortRoundTripUs) return 0;
  return info.tcpi_rcv_space;
}

UploadWindow::~UploadWindow() {
  if (bytes_ > initial_) used_bytes.fetch_sub(bytes_ - initial_, std::memory_order_relaxed);
}

bool UploadWindow::grow(std::int64_t target) {
  if (target <= bytes_) return false;
  const std::int64_t wanted = target - bytes_;
  const std::int64_t after = used_bytes.fetch_add(wanted, std::memory_order_relaxed) + wanted;
  if (after > budget_bytes.load(std::memory_order_relaxed)) {
    used_bytes.fetch_sub(wanted, std::memory_order_relaxed);
    return false;
  }
  bytes_ = target;
  return true;
}

}  // namespace weir::http
