#include "io/backend_choice.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <string>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

TEST(BackendChoice, knows_its_three_names_and_no_others) {
  EXPECT_EQ(parse_backend_kind("auto"), BackendKind::automatic);
  EXPECT_EQ(parse_backend_kind("io_uring"), BackendKind::io_uring);
  EXPECT_EQ(parse_backend_kind("epoll"), BackendKind::epoll);
  for (const char* other : {"", "uring", "Epoll", "epoll ", "select"}) {
    EXPECT_FALSE(parse_backend_kind(other)) << other;
  }
}

TEST(BackendChoice, prefers_io_uring_and_gives_epoll_to_who_asks) {
  EXPECT_STREQ((*create_backend(BackendKind::automatic))->name(), "io_uring");
  EXPECT_STREQ((*create_backend(BackendKind::epoll))->name(), "epoll");
}

// As a container's profile does it: io_uring_setup fails with `refusal` from now on.
void forbid_io_uring(int refusal) {
  std::array<sock_filter, 4> filter = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(refusal)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{filter.size(), filter.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    std::_Exit(99);
  }
}

// What `child` returns in a process of its own, and what it has written to standard error.
struct Told {
  int status = -1;
  std::string text;
};
Told in_child(int refusal, const std::function<int()>& child) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    forbid_io_uring(refusal);
    std::_Exit(child());
  }
  ::close(ends[1]);
  Told told;
  std::array<char, 4096> chunk{};
  for (ssize_t got = 0; (got = ::read(ends[0], chunk.data(), chunk.size())) > 0;) {
    told.text.append(chunk.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  if (WIFEXITED(status)) told.status = WEXITSTATUS(status);
  return told;
}

std::size_t count_of(const std::string& what, const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++count;
  return count;
}

// A loop on the backend that is left delivers what is written to a pipe.
int serve_one_read() {
  Result<std::unique_ptr<Backend>> backend = create_backend(BackendKind::automatic);
  Result<std::unique_ptr<Backend>> second = create_backend(BackendKind::automatic);
  if (!backend || !second || std::string((*backend)->name()) != "epoll") return 1;
  const SystemClock clock;
  EventLoop loop(0, std::move(*backend), clock);
  const std::array<int, 2> pipe = pipe_pair();
  struct ReadOp : Op {
    std::int32_t result = -1;
  } op;
  std::array<std::uint8_t, 8> into{};
  op.kind = OpKind::read;
  op.fd = pipe[0];
  op.buffer = into;
  op.on_complete = [](Op& self, const Completion& completion) {
    static_cast<ReadOp&>(self).result = completion.result;
  };
  if (!loop.start()) return 2;
  loop.backend().submit(op);
  loop.turn(Instant::min());
  if (::write(pipe[1], "hello", 5) != 5) return 3;
  while (op.in_flight()) loop.turn(std::nullopt);
  return op.result == 5 && into[0] == 'h' ? 0 : 4;
}

TEST(BackendChoice, falls_back_to_epoll_with_one_warning_that_says_why) {
  const Told forbidden = in_child(EPERM, serve_one_read);
  EXPECT_EQ(forbidden.status, 0);
  EXPECT_EQ(count_of("using epoll", forbidden.text), 1U) << forbidden.text;
  EXPECT_NE(forbidden.text.find("\"level\":\"warn\""), std::string::npos) << forbidden.text;
  EXPECT_NE(forbidden.text.find("seccomp"), std::string::npos) << forbidden.text;

  const Told missing = in_child(ENOSYS, serve_one_read);
  EXPECT_EQ(missing.status, 0);
  EXPECT_NE(missing.text.find("without io_uring"), std::string::npos) << missing.text;
}

TEST(BackendChoice, does_not_fall_back_when_io_uring_is_demanded) {
  const Told told = in_child(EPERM, [] {
    const Result<std::unique_ptr<Backend>> backend = create_backend(BackendKind::io_uring);
    if (backend) return 1;
    return backend.error().sys_errno == EPERM &&
                   to_string(backend.error()).find("io_uring_setup") != std::string::npos
               ? 0
               : 2;
  });
  EXPECT_EQ(told.status, 0);
  EXPECT_EQ(told.text, "");
}

}  // namespace
}  // namespace weir::io
