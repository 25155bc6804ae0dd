#pragma once
// The pipes of a git child, as the fetch and push services use them. Loop thread only. The pipes
// are non-blocking: what is there is taken in one system call, and the loop waits only when there
// is nothing. Writing to a child that is gone is an error, so SIGPIPE must be ignored.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "io/clock.h"
#include "io/error.h"
#include "io/stop_token.h"
#include "io/subprocess.h"
#include "io/task.h"

namespace weir::git {

inline constexpr io::Duration kSpawnTimeMax = std::chrono::seconds(10);
inline constexpr io::Duration kExitTimeMax = std::chrono::seconds(10);  // after its output ended
inline constexpr io::Duration kKilledExitTimeMax = std::chrono::milliseconds(200);

// Waits for bytes and takes all that fit. 0: the child has closed its end.
io::Task<io::Result<std::size_t>> read_pipe(int fd, std::span<std::uint8_t> into,
                                            io::StopToken stop, io::Deadline deadline);
// Takes what is there now; 0: nothing, or the end.
std::size_t read_pipe_now(int fd, std::span<std::uint8_t> into);
// Errc::system with EPIPE: the child reads no more.
io::Task<io::Result<void>> write_pipe(int fd, std::span<const std::uint8_t> bytes,
                                      io::StopToken stop);

// Reads a child's stderr so that it never blocks on it, and keeps the end of it for the log.
class StderrTail {
 public:
  // Until the end of the stream or `stop`.
  io::Task<void> collect(int fd, io::StopToken stop);
  // One line, printable, at most kTextBytesMax.
  std::string text() const;

 private:
  static constexpr std::size_t kTextBytesMax = 512;
  std::string tail_;
};

// The first exit status that can be had: kills the child when it lingers. Errors: as
// Subprocess::wait.
io::Task<io::Result<io::ExitStatus>> reap(io::Subprocess& child, io::Duration patience);

}  // namespace weir::git
