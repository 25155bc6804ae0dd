#include "io/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "io/check.h"
#include "io/clock.h"
#include "io/metrics.h"
#include "io/semaphore.h"

namespace weir::io {
namespace {

constexpr std::size_t kPipeWriteBytes = 4096;  // PIPE_BUF: does not block once poll() said writable
constexpr std::size_t kFileWriteBytes = 256 * 1024;
constexpr Duration kStopWait = 2s;  // for a reader that does not read, when the process ends
constexpr int kPollMs = 100;
constexpr Duration kGatherTime = 20ms;  // at most so much of the log is lost by a kill
constexpr std::size_t kGatherBytes = 64 * 1024;
static_assert(kGatherBytes < kLogBufferBytesMax / 8);

class LogWriter {
 public:
  void start(int fd) {
    WEIR_CHECK(!running_.load());
    fd_ = fd;
    stopping_ = false;
    dropped_ = Metrics::instance().counter(
        "weir_log_dropped", "", "Log records dropped because the log could not take them.");
    running_.store(true);
    thread_ = std::thread([this] { thread_main(); });
  }

  void stop() {
    if (!running_.load()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      give_up_at_ = std::chrono::steady_clock::now() + kStopWait;
    }
    wake_.give();
    thread_.join();
    running_.store(false);
  }

  // Takes `fd` over.
  void change_to(int fd) {
    const std::lock_guard lock(mutex_);
    if (next_fd_ >= 0) ::close(next_fd_);
    next_fd_ = fd;
  }

  void append(std::string_view json) {
    if (!running_.load(std::memory_order_acquire)) {
      std::string line(json);
      line += '\n';
      // One write: lines of several processes do not mix. Nothing can be done about a failure.
      if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return;
      return;
    }
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      if (filling_.size() + json.size() + 1 > kLogBufferBytesMax) {
        dropped_.add();
        return;
      }
      const bool was_small = filling_.size() < kGatherBytes;
      wake = filling_.empty();
      filling_ += json;
      filling_ += '\n';
      wake = wake || (was_small && filling_.size() >= kGatherBytes);
    }
    if (wake) wake_.give();
  }

 private:
  void thread_main() {
    std::string writing;
    for (bool stopping = false; !stopping || filling();) {
      if (!stopping) {
        wake_.take();
        // A wake-up costs more than a record: a few milliseconds' worth is gathered.
        wake_.take(kGatherTime);
      }
      {
        const std::lock_guard lock(mutex_);
        stopping = stopping_;
        if (filling_.empty()) continue;
        writing.clear();
        writing.swap(filling_);
        if (next_fd_ >= 0) {  // between two batches, so between two records
          dup3(next_fd_, fd_, O_CLOEXEC);
          ::close(std::exchange(next_fd_, -1));
          torn_ = false;
        }
      }
      write_out(writing);
    }
  }

  bool filling() {
    const std::lock_guard lock(mutex_);
    return !filling_.empty();
  }

  // False: it is time to stop, and nobody reads.
  bool wait_until_writable() {
    for (;;) {
      pollfd ready = {.fd = fd_, .events = POLLOUT, .revents = 0};
      if (poll(&ready, 1, kPollMs) > 0) return true;
      const std::lock_guard lock(mutex_);
      if (stopping_ && std::chrono::steady_clock::now() > give_up_at_) return false;
    }
  }

  void write_out(std::string_view bytes) {
    if (torn_ && wait_until_writable() && ::write(fd_, "\n", 1) == 1) torn_ = false;
    struct stat status = {};  // each time: it may be another file by now
    const bool is_file = fstat(fd_, &status) == 0 && S_ISREG(status.st_mode);
    const std::size_t write_bytes_max = is_file ? kFileWriteBytes : kPipeWriteBytes;
    while (!bytes.empty() && wait_until_writable()) {
      const ssize_t written = ::write(fd_, bytes.data(), std::min(bytes.size(), write_bytes_max));
      if (written > 0) {
        torn_ = bytes[static_cast<std::size_t>(written) - 1] != '\n';
        bytes.remove_prefix(static_cast<std::size_t>(written));
      }
      if (written < 0 && errno != EINTR && errno != EAGAIN) break;  // reader gone, disk full
    }
    if (bytes.starts_with('\n')) bytes.remove_prefix(1);  // its record is whole
    dropped_.add(static_cast<std::uint64_t>(std::ranges::count(bytes, '\n')));
  }

  std::atomic<bool> running_{false};
  int fd_ = -1;
  int next_fd_ = -1;  // to be put in place of fd_
  Counter dropped_;
  std::thread thread_;
  std::mutex mutex_;
  Semaphore wake_;  // when filling_ begins, when it is large, to stop
  std::string filling_;
  bool torn_ = false;  // the disk was full in the middle of a record: the next one begins a line
  bool stopping_ = false;
  std::chrono::steady_clock::time_point give_up_at_;
};

LogWriter& writer() {
  static LogWriter* const log =
      new LogWriter;  // never destroyed: others may log until the very end
  return *log;
}

std::string rfc3339_now() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc = {};
  gmtime_r(&now.tv_sec, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     now.tv_nsec / 1000);
}

// Bytes of the well-formed UTF-8 sequence at the start of `text`; 0 if there is none (RFC 3629).
std::size_t utf8_sequence_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(0);
  const auto continues = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (first == 0xe0 && byte(1) < 0xa0) return 0;  // overlong
    if (first == 0xed && byte(1) > 0x9f) return 0;  // surrogates
    return continues(1) && continues(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (first == 0xf0 && byte(1) < 0x90) return 0;
    if (first == 0xf4 && byte(1) > 0x8f) return 0;  // above U+10FFFF
    return continues(1) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

// Characters that terminals and readers of lines take for commands or line ends, or that show text
// in another order than it has: C1 controls, U+2028, U+2029, bidirectional marks.
bool misleading(unsigned character) {
  return (character >= 0x80 && character <= 0x9f) || character == 0x61c ||
         (character >= 0x200e && character <= 0x200f) ||
         (character >= 0x2028 && character <= 0x202e) ||
         (character >= 0x2066 && character <= 0x2069);
}

// Of a well-formed sequence of two or three bytes; 0 for longer ones.
unsigned character_of(std::string_view sequence) {
  if (sequence.size() > 3) return 0;
  unsigned character =
      static_cast<unsigned char>(sequence[0]) & (sequence.size() == 2 ? 0x1fU : 0x0fU);
  for (const char c : sequence.substr(1)) {
    character = character << 6 | (static_cast<unsigned char>(c) & 0x3fU);
  }
  return character;
}

// False if one of the eight bytes needs an escape or is not ASCII. The top bit of each byte is set
// by what must not be there; a borrow or carry into the next byte comes only from such a one.
bool eight_plain(const char* text) {
  constexpr std::uint64_t kOnes = 0x0101010101010101U;
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, text, sizeof bytes);
  const std::uint64_t quote = (bytes ^ ('"' * kOnes)) - kOnes;
  const std::uint64_t backslash = (bytes ^ ('\\' * kOnes)) - kOnes;
  const std::uint64_t bad = bytes | (bytes - 0x20 * kOnes) | (bytes + kOnes) | quote | backslash;
  return (bad & (0x80 * kOnes)) == 0;
}

}  // namespace

void log_start(int fd) {
  writer().start(fd);
}

Result<int> log_open(const std::string& path) {
  const int fd = path.empty() ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                              : open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) return fail_errno("open the log");
  return fd;
}

Result<void> log_reopen(const std::string& path) {
  const Result<int> next = log_open(path);
  if (!next) return std::unexpected(next.error());
  writer().change_to(*next);
  return {};
}

void log_stop() {
  writer().stop();
}
void log_record(std::string_view json) {
  writer().append(json);
}

void log_event(LogLevel level, std::string_view message) {
  constexpr const char* kNames[] = {"info", "warn", "error"};
  std::string json = fmt::format(R"({{"time":"{}","level":"{}","pid":{},"message":")",
                                 rfc3339_now(), kNames[static_cast<std::size_t>(level)], getpid());
  append_json_escaped(json, message);
  json += "\"}";
  log_record(json);
}

void append_json_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    // Nearly all text needs no escape: it goes out in one piece.
    std::size_t plain = 0;
    while (plain + 8 <= text.size() && eight_plain(text.data() + plain)) plain += 8;
    const bool rest =
        text.size() > 8 && text.size() - plain < 8;  // looked at with what precedes it
    if (rest && eight_plain(text.data() + text.size() - 8)) plain = text.size();
    while (plain < text.size() && text[plain] >= 0x20 && text[plain] < 0x7f && text[plain] != '"' &&
           text[plain] != '\\') {
      ++plain;
    }
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) return;
    const char c = text.front();
    std::size_t taken = 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      if (c == '\n') {
        out += "\\n";
      } else {
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
      }
    } else if (const std::size_t bytes = utf8_sequence_bytes(text); bytes != 0) {
      const unsigned character = character_of(text.substr(0, bytes));
      if (misleading(character)) {
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", character);
      } else {
        out += text.substr(0, bytes);
      }
      taken = bytes;
    } else {
      out += "\\ufffd";
    }
    text.remove_prefix(taken);
  }
}

}  // namespace weir::io
