#include "git/child_pipes.h"

#include <poll.h>
#include <signal.h>

#include <array>
#include <cerrno>

#include "io/event_loop.h"
#include "io/fd_ops.h"

namespace weir::git {
namespace {

auto failed(const char* where, ssize_t result) {
  return io::fail(io::Errc::system, where, static_cast<int>(-result));
}

}  // namespace

io::Task<io::Result<std::size_t>> read_pipe(int fd, std::span<std::uint8_t> into,
                                            io::StopToken stop, io::Deadline deadline) {
  for (;;) {
    const ssize_t got = io::EventLoop::current().backend().read_now(fd, into);
    if (got >= 0) co_return static_cast<std::size_t>(got);
    if (got != -EAGAIN) co_return failed("read from child", got);
    const io::Result<std::size_t> ready = co_await io::poll_fd(fd, POLLIN, stop, deadline);
    if (!ready) co_return std::unexpected(ready.error());
  }
}

std::size_t read_pipe_now(int fd, std::span<std::uint8_t> into) {
  const ssize_t got = io::EventLoop::current().backend().read_now(fd, into);
  return got > 0 ? static_cast<std::size_t>(got) : 0;
}

io::Task<io::Result<void>> write_pipe(int fd, std::span<const std::uint8_t> bytes,
                                      io::StopToken stop) {
  while (!bytes.empty()) {
    const ssize_t written = io::EventLoop::current().backend().write_now(fd, bytes);
    if (written > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
      continue;
    }
    if (written != -EAGAIN) co_return failed("write to child", written);
    const io::Result<std::size_t> ready = co_await io::poll_fd(fd, POLLOUT, stop);
    if (!ready) co_return std::unexpected(ready.error());
  }
  co_return io::Result<void>{};
}

io::Task<void> StderrTail::collect(int fd, io::StopToken stop) {
  std::array<std::uint8_t, 4096> chunk;
  while (fd >= 0) {
    const io::Result<std::size_t> got = co_await read_pipe(fd, chunk, stop, io::Deadline::never());
    if (!got || *got == 0) co_return;
    tail_.append(reinterpret_cast<const char*>(chunk.data()), *got);
    if (tail_.size() > kTextBytesMax) tail_.erase(0, tail_.size() - kTextBytesMax);
  }
}

std::string StderrTail::text() const {
  std::string line;
  for (const char c : tail_) {
    if (c == '\n') {
      line += "; ";
    } else if (static_cast<unsigned char>(c) >= ' ' && c != 0x7f) {
      line += c;
    }
  }
  while (line.ends_with("; ")) line.resize(line.size() - 2);
  return line;
}

io::Task<io::Result<io::ExitStatus>> reap(io::Subprocess& child, io::Duration patience) {
  const io::EventLoop& loop = io::EventLoop::current();
  io::Result<io::ExitStatus> status =
      co_await child.wait({}, io::Deadline::after(loop.now(), patience));
  if (!status && status.error().code == io::Errc::deadline_exceeded) {
    child.kill(SIGKILL);
    status = co_await child.wait({}, io::Deadline::after(loop.now(), kKilledExitTimeMax));
  }
  co_return status;
}

}  // namespace weir::git
