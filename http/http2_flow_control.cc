#include "http/http2_flow_control.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>

namespace weir::http {
namespace {

constexpr std::uint32_t kShortRoundTripUs = 1000;  // 256 KiB a millisecond is 256 MB/s already

std::atomic<std::int64_t> budget_bytes{kUploadWindowBudgetBytes};
std::atomic<std::int64_t> used_bytes{0};

bool take_from_budget(std::int64_t bytes) {
  const std::int64_t after = used_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (after <= budget_bytes.load(std::memory_order_relaxed)) return true;
  used_bytes.fetch_sub(bytes, std::memory_order_relaxed);
  return false;
}

void return_to_budget(std::int64_t bytes) {
  used_bytes.fetch_sub(bytes, std::memory_order_relaxed);
}

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
  if (bytes_ > initial_) return_to_budget(bytes_ - initial_);
}

bool UploadWindow::grow(std::int64_t target) {
  if (target <= bytes_ || !take_from_budget(target - bytes_)) return false;
  bytes_ = target;
  return true;
}

UploadAdvance::~UploadAdvance() {
  return_to_budget(bytes_);
}

bool UploadAdvance::take(std::int64_t bytes) {
  if (!take_from_budget(bytes)) return false;
  bytes_ += bytes;
  return true;
}

std::int64_t UploadAdvance::settle(std::int64_t bytes) {
  const std::int64_t settled = std::min(bytes, bytes_);
  return_to_budget(settled);
  bytes_ -= settled;
  return settled;
}

}  // namespace weir::http
