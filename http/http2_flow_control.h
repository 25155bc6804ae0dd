#pragma once
// Upload windows of HTTP/2: how many bytes a client may have in flight towards us. Every stream
// starts with kStreamWindowBytes and every connection with kConnectionWindowBytes; a window grows
// to twice the bandwidth-delay product of its TCP connection. What it grows by is taken from one
// budget of the process, so that many fast uploads cannot buy the machine's memory; when the budget
// is empty windows stay as they are (uploads slow down, nothing fails). The same budget pays for
// what is received and not yet read: only then is it given back to the connection's window at once,
// so that an upload that waits for its turn does not hold up the others of its connection. Windows:
// loop thread; budget: any thread.

#include <cstdint>

namespace weir::http {

inline constexpr std::int64_t kStreamWindowBytes = 256 * 1024;
inline constexpr std::int64_t kStreamWindowBytesMax = 4 * 1024 * 1024;
inline constexpr std::int64_t kConnectionWindowBytes = 1024 * 1024;
inline constexpr std::int64_t kConnectionWindowBytesMax = 8 * 1024 * 1024;
inline constexpr std::int64_t kUploadWindowBudgetBytes = 256 * 1024 * 1024;  // 64 full-size windows
static_assert(kConnectionWindowBytes >= kStreamWindowBytes);
static_assert(kConnectionWindowBytesMax >= kStreamWindowBytesMax);

// Replaces the process's budget; for tests. Takes nothing back.
void set_upload_window_budget(std::int64_t bytes);
std::int64_t upload_window_budget_used();

// Bytes the peer can have under way towards `fd` (receive space of the last round trip), from
// TCP_INFO; 0 when unknown or when the round trip is too short for windows to matter.
std::int64_t bandwidth_delay_bytes(int fd);

class UploadWindow {
 public:
  explicit UploadWindow(std::int64_t bytes) : bytes_(bytes), initial_(bytes) {}
  ~UploadWindow();
  UploadWindow(const UploadWindow&) = delete;
  UploadWindow& operator=(const UploadWindow&) = delete;

  std::int64_t bytes() const { return bytes_; }
  // Grows towards `target` as far as the budget allows; true if it grew.
  bool grow(std::int64_t target);

 private:
  std::int64_t bytes_;
  const std::int64_t initial_;
};

// Bytes of one stream that were given back to its connection's window before they were read.
class UploadAdvance {
 public:
  UploadAdvance() = default;
  ~UploadAdvance();
  UploadAdvance(const UploadAdvance&) = delete;
  UploadAdvance& operator=(const UploadAdvance&) = delete;

  // False: the budget is spent, these bytes are to be given back when they are read.
  bool take(std::int64_t bytes);
  // `bytes` have been read: how many of them had been given back already.
  std::int64_t settle(std::int64_t bytes);

 private:
  std::int64_t bytes_ = 0;
};

}  // namespace weir::http
