#include "io/backend_choice.h"

#include <atomic>
#include <string>

#include "io/epoll_backend.h"
#include "io/log.h"
#include "io/uring_backend.h"

namespace weir::io {
namespace {

void warn_once(const Error& refused) {
  static std::atomic<bool> warned{false};
  if (warned.exchange(true)) return;
  log_event(LogLevel::warn, "using epoll instead of io_uring: " + to_string(refused));
}

}  // namespace

std::optional<BackendKind> parse_backend_kind(std::string_view text) {
  if (text == "auto") return BackendKind::automatic;
  if (text == "io_uring") return BackendKind::io_uring;
  if (text == "epoll") return BackendKind::epoll;
  return std::nullopt;
}

Result<std::unique_ptr<Backend>> create_backend(BackendKind kind, unsigned recv_buffers) {
  if (kind != BackendKind::epoll) {
    Result<std::unique_ptr<Backend>> uring = create_uring_backend({.recv_buffers = recv_buffers});
    if (uring || kind == BackendKind::io_uring) return uring;
    warn_once(uring.error());
  }
  return create_epoll_backend({.recv_buffers = recv_buffers});
}

}  // namespace weir::io
