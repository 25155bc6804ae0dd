#include "io/fd_ops.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <array>
#include <string>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

using Bytes = std::array<std::uint8_t, 16>;

class FdOps : public testing::Test {
 protected:
  ~FdOps() override {
    for (const int fd : pipe) {
      if (fd >= 0) ::close(fd);
    }
  }
  TestLoop test;
  std::array<int, 2> pipe = pipe_pair();
  Bytes bytes{};
};

Task<Result<std::size_t>> read_task(int fd, Bytes& into, StopToken stop, Deadline deadline) {
  co_return co_await read_some(fd, into, stop, deadline);
}

TEST_F(FdOps, reads_what_is_there_then_waits_for_more_then_sees_the_end) {
  ASSERT_EQ(::write(pipe[1], "abc", 3), 3);
  Result<std::size_t> got = test.run(read_task(pipe[0], bytes, {}, Deadline::never()));
  EXPECT_EQ(got.value(), 3u);
  TaskScope scope;
  const auto later = [](int fd, Bytes& into, std::size_t& count) -> Task<void> {
    const Result<std::size_t> result = co_await read_some(fd, into);
    count = result.value();
  };
  std::size_t count = 99;
  scope.spawn(later(pipe[0], bytes, count));
  test.run_turns(3);
  EXPECT_EQ(scope.running(), 1);
  ASSERT_EQ(::write(pipe[1], "defg", 4), 4);
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(count, 4u);
  EXPECT_EQ(bytes[3], 'g');
  ::close(std::exchange(pipe[1], -1));
  got = test.run(read_task(pipe[0], bytes, {}, Deadline::never()));
  EXPECT_EQ(got.value(), 0u);
}

TEST_F(FdOps, a_deadline_ends_the_read_and_no_byte_is_taken_afterwards) {
  const Deadline soon = Deadline::after(test.clock.now(), 20ms);
  const Result<std::size_t> got = test.run(read_task(pipe[0], bytes, {}, soon));
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Errc::deadline_exceeded);
  ASSERT_EQ(::write(pipe[1], "z", 1), 1);
  test.run_turns(3);
  EXPECT_EQ(bytes[0], 0);
  char byte = 0;
  EXPECT_EQ(::read(pipe[0], &byte, 1), 1);
}

TEST_F(FdOps, a_stop_ends_the_read) {
  StopSource stop;
  TaskScope scope;
  const auto reader = [](int fd, Bytes& into, StopToken token, Errc& code) -> Task<void> {
    const Result<std::size_t> result = co_await read_some(fd, into, token);
    code = result.error().code;
  };
  Errc code = Errc::corrupt;
  scope.spawn(reader(pipe[0], bytes, StopToken(stop), code));
  test.run_turns(2);
  stop.request_stop();
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(code, Errc::cancelled);
  const Result<std::size_t> again =
      test.run(read_task(pipe[0], bytes, StopToken(stop), Deadline::never()));
  EXPECT_EQ(again.error().code, Errc::cancelled);  // stopped before it began
}

TEST_F(FdOps, writes_wait_for_room_in_the_pipe) {
  const std::vector<std::uint8_t> big(200'000, 7);
  const auto writer = [](int fd, std::span<const std::uint8_t> all) -> Task<void> {
    while (!all.empty()) {
      const Result<std::size_t> wrote = co_await write_some(fd, all);
      all = all.subspan(wrote.value());
    }
  };
  TaskScope scope;
  scope.spawn(writer(pipe[1], big));
  std::size_t read = 0;
  std::vector<char> into(50'000);
  test.run_until([&] {
    const ssize_t got = ::read(pipe[0], into.data(), into.size());
    if (got > 0) read += static_cast<std::size_t>(got);
    return read == big.size();
  });
  test.run_until([&] { return scope.running() == 0; });
}

TEST_F(FdOps, a_write_to_a_closed_pipe_is_an_error_and_no_signal) {
  ::signal(SIGPIPE, SIG_IGN);
  ::close(std::exchange(pipe[0], -1));
  const auto writer = [](int fd, Bytes& from) -> Task<Result<std::size_t>> {
    co_return co_await write_some(fd, from);
  };
  const Result<std::size_t> wrote = test.run(writer(pipe[1], bytes));
  EXPECT_EQ(wrote.error().sys_errno, EPIPE);
}

TEST_F(FdOps, reads_files_at_an_offset) {
  const int fd = ::memfd_create("weir-test", MFD_CLOEXEC);
  ASSERT_EQ(::write(fd, "0123456789", 10), 10);
  const auto reader = [](int file, Bytes& into) -> Task<Result<std::size_t>> {
    co_return co_await read_at(file, into, 4);
  };
  EXPECT_EQ(test.run(reader(fd, bytes)).value(), 6u);
  EXPECT_EQ(bytes[0], '4');
  ::close(fd);
}

TEST_F(FdOps, polls_for_readiness) {
  const auto poller = [](int fd) -> Task<Result<std::size_t>> {
    co_return co_await poll_fd(fd, POLLIN);
  };
  ASSERT_EQ(::write(pipe[1], "a", 1), 1);
  EXPECT_EQ(test.run(poller(pipe[0])).value() & POLLIN, static_cast<std::size_t>(POLLIN));
}

}  // namespace
}  // namespace weir::io
