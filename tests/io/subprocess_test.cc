#include "io/subprocess.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "io/descriptor_passing.h"
#include "io/fd_ops.h"
#include "io/launcher.h"
#include "io/process_identity.h"
#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

struct LauncherProcess {
  pid_t pid = -1;
  UniqueFd client;

  LauncherProcess() {
    auto ends = make_message_socket_pair();
    pid = fork();
    if (pid == 0) run_launcher({(*ends)[1].get()}, -1);
    client = std::move((*ends)[0]);
  }
  ~LauncherProcess() {
    client.reset();
    if (pid > 0) waitpid(pid, nullptr, 0);
  }
  void kill_and_reap() {
    ASSERT_GT(pid, 1);
    kill(pid, SIGKILL);
    waitpid(std::exchange(pid, -1), nullptr, 0);
  }
};

SubprocessSpec shell(std::string script) {
  SubprocessSpec spec;
  spec.argv = {"/bin/sh", "-c", std::move(script)};
  spec.env = {"PATH=/usr/bin:/bin"};
  return spec;
}

Task<std::string> read_all(int fd) {
  std::string all;
  std::array<std::uint8_t, 65536> chunk;
  for (;;) {
    const Result<std::size_t> bytes = co_await read_some(fd, chunk);
    if (!bytes || *bytes == 0) co_return all;
    all.append(reinterpret_cast<const char*>(chunk.data()), *bytes);
  }
}

Task<std::string> read_when_ready(int fd) {
  (void)co_await poll_fd(fd, POLLIN);
  std::array<std::uint8_t, 256> chunk;
  const Result<std::size_t> bytes = co_await read_some(fd, chunk);
  co_return std::string(chunk.begin(), chunk.begin() + bytes.value_or(0));
}

// Whether a process has `mark` in its command line.
bool runs(const std::string& mark) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    std::ifstream file(entry.path() / "cmdline");
    std::string command(std::istreambuf_iterator<char>(file), {});
    std::ranges::replace(command, '\0', ' ');
    if (command.find(mark) != command.npos) return true;
  }
  return false;
}

Task<void> read_byte(int fd) {
  std::array<std::uint8_t, 1> byte;
  const Result<std::size_t> bytes = co_await read_some(fd, byte);
  EXPECT_EQ(bytes.value_or(0), 1U);
}

Task<Result<void>> write_all(int fd, std::string text) {
  std::span<const std::uint8_t> rest(reinterpret_cast<const std::uint8_t*>(text.data()),
                                     text.size());
  while (!rest.empty()) {
    const Result<std::size_t> written = co_await write_some(fd, rest);
    if (!written) co_return std::unexpected(written.error());
    rest = rest.subspan(*written);
  }
  co_return Result<void>{};
}

class SubprocessTest : public testing::Test {
 protected:
  SubprocessTest() { signal(SIGPIPE, SIG_IGN); }
  ~SubprocessTest() override { test.run(client.close()); }

  std::unique_ptr<Subprocess> start(SubprocessSpec spec) {
    auto child = test.run(client.spawn(std::move(spec), Deadline::never()));
    if (!child) {
      ADD_FAILURE() << to_string(child.error());
      std::abort();
    }
    return std::move(*child);
  }
  Result<ExitStatus> end_of(Subprocess& child) {
    return test.run(child.wait({}, Deadline::never()));
  }

  LauncherProcess launcher;  // forked before the loop exists
  TestLoop test;
  LauncherClient client{test.loop, launcher.client.release()};
};

TEST_F(SubprocessTest, bulk_input_and_output_go_through_a_child) {
  const auto child = start(shell("cat; echo all >&2; exit 7"));
  const std::string sent(3'000'000, 'x');
  std::string got;
  TaskScope scope;
  const auto pump = [](Subprocess& to, std::string text) -> Task<void> {
    EXPECT_TRUE((co_await write_all(to.stdin_fd(), std::move(text))).has_value());
    to.close_stdin();
  };
  scope.spawn(pump(*child, sent));
  got = test.run(read_all(child->stdout_fd()));
  EXPECT_EQ(got, sent);
  EXPECT_EQ(test.run(read_all(child->stderr_fd())), "all\n");
  test.run_until([&] { return scope.running() == 0; });
  const Result<ExitStatus> status = end_of(*child);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->code, 7);
  EXPECT_FALSE(status->signalled);
  EXPECT_GT(status->rss_bytes_max, 100'000U);
  EXPECT_EQ(client.children(), 0U);
}

TEST_F(SubprocessTest, a_child_that_cannot_start_is_an_error_and_leaves_nothing) {
  SubprocessSpec spec;
  spec.argv = {"/nonexistent"};
  const auto refused = test.run(client.spawn(spec, Deadline::never()));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::system);
  EXPECT_EQ(refused.error().sys_errno, ENOENT);
  spec.argv = {"relative"};
  EXPECT_EQ(test.run(client.spawn(spec, Deadline::never())).error().code, Errc::invalid);
  EXPECT_EQ(client.children(), 0U);
}

TEST_F(SubprocessTest, a_wait_ends_at_its_deadline_and_the_child_runs_on) {
  const auto child = start(shell("read line; exit 0"));
  const auto late =
      test.run(child->wait({}, Deadline::after(test.clock.now(), std::chrono::milliseconds(5))));
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code, Errc::deadline_exceeded);
  EXPECT_TRUE(process_runs(child->pid(), child->start_ticks()));
  child->close_stdin();
  EXPECT_TRUE(end_of(*child).has_value());
}

TEST_F(SubprocessTest, kill_and_destruction_end_the_whole_group) {
  const auto killed = start(shell("sleep 1000 & echo; wait"));
  killed->kill(SIGKILL);
  EXPECT_EQ(end_of(*killed)->code, 128 + SIGKILL);

  auto dropped = start(shell("sleep 1000 & wait"));
  const UniqueFd out(dup(dropped->stdout_fd()));
  dropped.reset();
  EXPECT_EQ(test.run(read_all(out.get())), "");  // ends when sleep, too, is gone
}

TEST_F(SubprocessTest, a_spawn_that_came_too_late_leaves_no_child) {
  const std::string mark = "sleep 1000." + std::to_string(getpid());
  const auto late = test.run(client.spawn(shell("exec " + mark), {test.clock.now()}));
  if (late) return;  // the launcher was faster than the clock
  EXPECT_EQ(late.error().code, Errc::deadline_exceeded);
  end_of(*start(shell("true")));  // made after the other one, whose start has been told by now
  test.run_until([&] { return !runs(mark); });
}

TEST_F(SubprocessTest, a_child_with_a_channel_talks_over_it) {
  SubprocessSpec spec = shell("read line <&3; echo got $line >&3");
  spec.channel = true;
  const auto child = start(spec);
  ASSERT_TRUE(test.run(write_all(child->channel_fd(), "this\n")).has_value());
  EXPECT_EQ(test.run(read_when_ready(child->channel_fd())), "got this\n");
  child->close_channel();
  EXPECT_EQ(child->channel_fd(), -1);
  EXPECT_EQ(end_of(*child)->code, 0);
}

TEST_F(SubprocessTest, a_channel_of_messages_keeps_their_boundaries) {
  SubprocessSpec spec = shell("exec sleep 1000");
  spec.channel = spec.channel_of_messages = true;
  const auto child = start(spec);
  int type = 0;
  socklen_t bytes = sizeof type;
  ASSERT_EQ(getsockopt(child->channel_fd(), SOL_SOCKET, SO_TYPE, &type, &bytes), 0);
  EXPECT_EQ(type, SOCK_SEQPACKET);
  child->kill(SIGKILL);
  EXPECT_TRUE(end_of(*child)->signalled);
}

TEST_F(SubprocessTest, a_released_child_finishes_although_it_was_let_go) {
  const std::string path = testing::TempDir() + "/weir_subprocess_finished";
  unlink(path.c_str());
  SubprocessSpec spec =
      shell("cat >/dev/null; head -c 3000000 /dev/zero && echo all > " + path + "; exec sleep 0");
  spec.may_finish = true;
  auto child = start(spec);
  child->release_to_finish();
  child.reset();
  test.run_until([&] {
    std::string word;
    std::ifstream(path) >> word;
    return word == "all";
  });
  unlink(path.c_str());
}

TEST_F(SubprocessTest, the_launchers_death_ends_spawns_and_children_and_a_new_one_serves) {
  const auto fetch = start(shell("sleep 1000 & echo; wait"));
  SubprocessSpec push_spec = shell("read line; exit 0");
  push_spec.may_finish = true;
  const auto push = start(push_spec);
  push->release_to_finish();
  test.run(read_byte(fetch->stdout_fd()));  // sleep has been started
  launcher.kill_and_reap();

  const Result<ExitStatus> fetch_end = end_of(*fetch);
  ASSERT_FALSE(fetch_end.has_value());
  EXPECT_EQ(fetch_end.error().code, Errc::unavailable);
  EXPECT_FALSE(process_runs(fetch->pid(), fetch->start_ticks()));
  EXPECT_EQ(test.run(read_all(fetch->stdout_fd())), "");  // sleep, too, is gone
  EXPECT_EQ(test.run(client.spawn(shell("true"), Deadline::never())).error().code,
            Errc::unavailable);
  EXPECT_EQ(client.children(), 0U);

  EXPECT_TRUE(process_runs(push->pid(), push->start_ticks()));
  push->close_stdin();
  EXPECT_EQ(end_of(*push).error().code, Errc::unavailable);
  EXPECT_FALSE(process_runs(push->pid(), push->start_ticks()));

  LauncherProcess second;
  client.reconnect(second.client.release());
  const auto child = start(shell("exit 3"));
  EXPECT_EQ(end_of(*child)->code, 3);
  test.run(client.close());
}

TEST_F(SubprocessTest, a_reconnect_before_the_end_was_seen_is_the_same) {
  const auto fetch = start(shell("sleep 1000"));
  LauncherProcess second;
  client.reconnect(second.client.release());  // the first launcher still lives
  const auto child = start(shell("exit 3"));
  EXPECT_EQ(end_of(*child)->code, 3);
  EXPECT_FALSE(end_of(*fetch).has_value());
  EXPECT_FALSE(process_runs(fetch->pid(), fetch->start_ticks()));
  test.run(client.close());
}

TEST_F(SubprocessTest, many_children_at_once_pass_a_full_socket) {
  constexpr int kCount = 150;
  SubprocessSpec spec = shell("exit 2");
  spec.env.emplace_back("PADDING=" + std::string(2000, 'x'));
  int twos = 0;
  TaskScope scope;
  const auto one = [](LauncherClient& launcher_client, SubprocessSpec what,
                      int& counted) -> Task<void> {
    auto child = co_await launcher_client.spawn(std::move(what), Deadline::never());
    if (!child) co_return;
    const Result<ExitStatus> status = co_await (*child)->wait({}, Deadline::never());
    if (status && status->code == 2) ++counted;
  };
  for (int i = 0; i < kCount; ++i) scope.spawn(one(client, spec, twos));
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(twos, kCount);
}

}  // namespace
}  // namespace weir::io
