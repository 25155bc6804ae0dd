// The launcher as a process, spoken to in its own protocol: no event loop is needed.
#include "io/launcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <optional>

#include "io/descriptor_passing.h"
#include "io/launcher_protocol.h"
#include "io/process_identity.h"

namespace weir::io {
namespace {

constexpr int kPatienceMs = 20'000;  // for a busy machine; nothing here waits that long

struct TestChild {
  std::uint64_t id = 0;
  pid_t pid = -1;
  UniqueFd in, out, err, pidfd;

  // All output until the last process that holds the pipe has ended.
  static std::string read_all(const UniqueFd& fd) {
    std::string all;
    char chunk[65536];
    for (;;) {
      pollfd ready = {fd.get(), POLLIN, 0};
      if (poll(&ready, 1, kPatienceMs) <= 0) return all + "<timeout>";
      const ssize_t bytes = read(fd.get(), chunk, sizeof chunk);
      if (bytes <= 0) return all;
      all.append(chunk, static_cast<std::size_t>(bytes));
    }
  }
  std::string output() const { return read_all(out); }
};

class LauncherTest : public testing::Test {
 protected:
  void SetUp() override {
    auto first = make_message_socket_pair(), second = make_message_socket_pair(),
         control = make_message_socket_pair();
    ASSERT_TRUE(first && second && control);
    pid_ = fork();
    if (pid_ == 0) {
      run_launcher({(*first)[1].get(), (*second)[1].get()}, (*control)[1].get());
    }
    client_ = std::move((*first)[0]);
    other_client_ = std::move((*second)[0]);
    control_ = std::move((*control)[0]);
  }

  void TearDown() override {
    client_.reset();
    other_client_.reset();
    control_.reset();
    EXPECT_EQ(wait_for_launcher(), expected_end_);
  }

  int wait_for_launcher() {
    if (pid_ <= 0) return expected_end_;
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

  std::optional<LauncherReply> next_reply(UniqueFd& client, UniqueFd* descriptor = nullptr) {
    std::vector<std::uint8_t> buffer(kLauncherMessageBytesMax);
    pollfd ready = {client.get(), POLLIN, 0};
    if (poll(&ready, 1, kPatienceMs) <= 0) return std::nullopt;
    Result<ReceivedMessage> message = receive_message(client.get(), buffer);
    if (!message || message->bytes == 0) return std::nullopt;
    if (descriptor != nullptr && !message->descriptors.empty()) {
      *descriptor = std::move(message->descriptors[0]);
    }
    const Result<LauncherReply> reply = decode_reply(std::span(buffer).first(message->bytes));
    if (!reply) return std::nullopt;
    return *reply;
  }

  void send(UniqueFd& client, const LauncherRequest& request, std::vector<int> descriptors = {}) {
    ASSERT_TRUE(send_message(client.get(), *encode(request), descriptors).has_value());
  }

  static SubprocessSpec shell(std::string script) {
    SubprocessSpec spec;
    spec.argv = {"/bin/sh", "-c", std::move(script)};
    spec.env = {"PATH=/usr/bin:/bin"};
    return spec;
  }

  void request_spawn(UniqueFd& client, const SubprocessSpec& spec, TestChild& child,
                     int channel = -1) {
    int in[2], out[2], err[2];
    ASSERT_EQ(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    child.id = ++last_id_;
    std::vector<int> descriptors = {in[0], out[1]};
    if (!spec.merge_stderr) descriptors.push_back(err[1]);
    if (spec.channel) descriptors.push_back(channel);
    send(client, SpawnRequest{child.id, spec}, descriptors);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    child.in.reset(in[1]);
    child.out.reset(out[0]);
    child.err.reset(err[0]);
  }

  TestChild spawn(const SubprocessSpec& spec, int channel = -1) {
    TestChild child;
    request_spawn(client_, spec, child, channel);
    const auto reply = next_reply(client_, &child.pidfd);
    if (!reply || !std::holds_alternative<SpawnedReply>(*reply)) {
      ADD_FAILURE() << "not spawned";
      return child;
    }
    child.pid = std::get<SpawnedReply>(*reply).pid;
    EXPECT_EQ(std::get<SpawnedReply>(*reply).id, child.id);
    return child;
  }

  ExitStatus exit_of(const TestChild& child) {
    const auto reply = next_reply(client_);
    if (!reply || !std::holds_alternative<ExitedReply>(*reply)) {
      ADD_FAILURE() << "no exit";
      return {};
    }
    EXPECT_EQ(std::get<ExitedReply>(*reply).id, child.id);
    return std::get<ExitedReply>(*reply).status;
  }

  SpawnFailedReply failure_of(const SubprocessSpec& spec) {
    TestChild child;
    request_spawn(client_, spec, child);
    const auto reply = next_reply(client_);
    if (!reply || !std::holds_alternative<SpawnFailedReply>(*reply)) {
      ADD_FAILURE() << "not refused";
      return {};
    }
    return std::get<SpawnFailedReply>(*reply);
  }

  static bool ended(const UniqueFd& pidfd) {
    pollfd ready = {pidfd.get(), POLLIN, 0};
    return poll(&ready, 1, kPatienceMs) == 1;
  }

  pid_t pid_ = -1;
  int expected_end_ = 0;
  UniqueFd client_, other_client_, control_;
  std::uint64_t last_id_ = 0;
};

TEST_F(LauncherTest, a_child_reads_writes_and_its_exit_and_costs_are_told) {
  TestChild child = spawn(shell("cat; echo oops >&2; exit 3"));
  EXPECT_TRUE(process_runs(child.pid, process_start_ticks(child.pid)));
  EXPECT_FALSE(process_runs(child.pid, process_start_ticks(child.pid) + 1));
  ASSERT_EQ(write(child.in.get(), "hello", 5), 5);
  child.in.reset();
  EXPECT_EQ(child.output(), "hello");
  EXPECT_EQ(TestChild::read_all(child.err), "oops\n");
  const ExitStatus status = exit_of(child);
  EXPECT_EQ(status.code, 3);
  EXPECT_FALSE(status.signalled);
  EXPECT_GT(status.rss_bytes_max, 100'000U);
  EXPECT_TRUE(ended(child.pidfd));
  EXPECT_EQ(process_start_ticks(child.pid), 0U);
}

TEST_F(LauncherTest, a_child_sees_only_what_it_was_given) {
  int channel[2];
  ASSERT_EQ(pipe2(channel, O_CLOEXEC), 0);
  SubprocessSpec spec = shell(
      "read go; for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do"
      " [ -e /proc/$$/fd/$fd ] && echo fd $fd; done;"
      "echo hello >&3; grep -E '^(NoNewPrivs|SigIgn|SigBlk)' /proc/self/status;"
      "read pid name state parent group rest < /proc/$$/stat; [ $pid = $group ] && echo leader;"
      "nice; ulimit -n; ulimit -c; pwd; cat /proc/self/oom_score_adj; env; echo err >&2");
  spec.env = {"PATH=/usr/bin:/bin", "GIT_PROTOCOL=version=2"};
  spec.working_directory = "/usr";
  spec.nice = 11;
  spec.files_max = 77;
  spec.merge_stderr = true;
  spec.channel = true;
  TestChild child = spawn(spec, channel[1]);
  close(channel[1]);
  child.in.reset();
  EXPECT_EQ(child.output(),
            "fd 0\nfd 1\nfd 2\nfd 3\n"
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nNoNewPrivs:\t1\n"
            "leader\n11\n77\n0\n/usr\n500\n"
            "GIT_PROTOCOL=version=2\nPATH=/usr/bin:/bin\nPWD=/usr\nerr\n");
  char said[16];
  EXPECT_EQ(read(channel[0], said, sizeof said), 6);
  close(channel[0]);
  EXPECT_EQ(exit_of(child).code, 0);
}

TEST_F(LauncherTest, what_cannot_start_is_refused_with_the_step_and_the_reason) {
  SubprocessSpec missing;
  missing.argv = {"/nonexistent/program"};
  EXPECT_EQ(failure_of(missing).sys_errno, ENOENT);
  EXPECT_EQ(failure_of(missing).step, "execve");
  SubprocessSpec not_executable = missing;
  not_executable.argv = {"/etc/passwd"};
  EXPECT_EQ(failure_of(not_executable).sys_errno, EACCES);
  SubprocessSpec nowhere = shell("true");
  nowhere.working_directory = "/nonexistent";
  EXPECT_EQ(failure_of(nowhere).step, "chdir");
  send(client_, SpawnRequest{++last_id_, shell("true")}, {0});  // not the descriptors it names
  const auto reply = next_reply(client_);
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(std::get<SpawnFailedReply>(*reply).sys_errno, EINVAL);
  EXPECT_EQ(exit_of(spawn(shell("exit 0"))).code, 0);  // and goes on
}

TEST_F(LauncherTest, a_kill_reaches_the_whole_group) {
  TestChild child = spawn(shell("sleep 1000 & echo started; wait"));
  char line[16];
  ASSERT_EQ(read(child.out.get(), line, sizeof line), 8);
  send(client_, KillRequest{child.id, SIGKILL});
  EXPECT_EQ(child.output(), "");  // its end comes when sleep, too, has let the pipe go
  const ExitStatus status = exit_of(child);
  EXPECT_TRUE(status.signalled);
  EXPECT_EQ(status.code, 128 + SIGKILL);
  send(client_, KillRequest{child.id, SIGKILL});  // crossed with the exit: no harm
  send(client_, KillRequest{12345, SIGKILL});
  EXPECT_EQ(exit_of(spawn(shell("exit 5"))).code, 5);
}

TEST_F(LauncherTest, what_a_killed_child_leaves_in_its_group_is_killed) {
  TestChild child = spawn(shell("sleep 1000 & echo started; wait"));
  char line[16];
  ASSERT_EQ(read(child.out.get(), line, sizeof line), 8);
  // As the kernel does when memory runs out.
  ASSERT_TRUE(child.pid > 1 && kill(child.pid, SIGKILL) == 0);
  EXPECT_EQ(child.output(), "");
  EXPECT_TRUE(exit_of(child).signalled);
}

TEST_F(LauncherTest, limits_hold) {
  SubprocessSpec writes = shell("exec head -c 100000 /dev/zero");
  const std::string path = testing::TempDir() + "/weir_launcher_limit";
  writes.argv[2] += " > " + path;
  writes.file_bytes_max = 4096;
  EXPECT_EQ(exit_of(spawn(writes)).code, 128 + SIGXFSZ);
  unlink(path.c_str());
  SubprocessSpec burns = shell("while :; do :; done");
  burns.cpu_s_max = 1;
  const ExitStatus burnt = exit_of(spawn(burns));
  EXPECT_TRUE(burnt.signalled);
  EXPECT_GT(burnt.cpu_us, 500'000U);
}

TEST_F(LauncherTest, the_end_of_a_client_kills_its_children_but_those_that_finish) {
  const std::string path = testing::TempDir() + "/weir_launcher_finished";
  unlink(path.c_str());
  TestChild fetch = spawn(shell("sleep 1000 & wait"));
  SubprocessSpec push_spec =
      shell("cat >/dev/null; head -c 3000000 /dev/zero && echo all > " + path);
  push_spec.may_finish = true;
  TestChild push = spawn(push_spec);
  send(client_, FinishRequest{push.id}, {push.out.get(), push.err.get()});
  client_.reset();
  EXPECT_EQ(fetch.output(), "");  // ends: the whole group is gone
  push.in.reset();
  push.out.reset();  // more output than a pipe holds, and nobody of ours reads it
  push.err.reset();
  other_client_.reset();
  control_.reset();
  EXPECT_EQ(wait_for_launcher(), 0);  // which waits for the push
  std::string word;
  std::ifstream(path) >> word;
  EXPECT_EQ(word, "all");
  unlink(path.c_str());
}

TEST_F(LauncherTest, a_finishing_child_that_was_let_go_is_drained_while_its_client_lives) {
  SubprocessSpec spec = shell("cat >/dev/null; head -c 3000000 /dev/zero || exit 9");
  spec.may_finish = true;
  TestChild push = spawn(spec);
  send(client_, FinishRequest{push.id}, {push.out.get(), push.err.get()});
  send(client_, LetGoRequest{push.id});
  push.in.reset();
  push.out.reset();
  push.err.reset();
  EXPECT_EQ(exit_of(push).code, 0);
}

TEST_F(LauncherTest, a_client_that_talks_nonsense_is_cut_off_and_the_others_are_served) {
  TestChild child = spawn(shell("sleep 1000"));
  const std::uint8_t nonsense[] = {0xff, 1, 2, 3};
  ASSERT_TRUE(send_message(client_.get(), nonsense, {}).has_value());
  EXPECT_EQ(child.output(), "");
  EXPECT_FALSE(next_reply(client_).has_value());
  std::swap(client_, other_client_);
  EXPECT_EQ(exit_of(spawn(shell("exit 4"))).code, 4);
}

TEST_F(LauncherTest, children_die_with_the_launcher_unless_they_may_finish) {
  TestChild fetch = spawn(shell("exec sleep 1000"));
  SubprocessSpec push_spec = shell("read line; exit 0");
  push_spec.may_finish = true;
  TestChild push = spawn(push_spec);
  expected_end_ = 128 + SIGKILL;
  ASSERT_TRUE(pid_ > 1 && kill(pid_, SIGKILL) == 0);
  EXPECT_EQ(wait_for_launcher(), expected_end_);
  EXPECT_TRUE(ended(fetch.pidfd));
  pollfd still = {push.pidfd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&still, 1, 0), 0);
  push.in.reset();
  EXPECT_TRUE(ended(push.pidfd));
}

TEST_F(LauncherTest, many_children_at_once_are_all_reaped) {
  constexpr std::size_t kCount = 40;
  std::vector<TestChild> children(kCount);
  for (TestChild& child : children) request_spawn(client_, shell("exit 1"), child);
  std::size_t spawned = 0, exited = 0;
  while (exited < kCount) {
    const auto reply = next_reply(client_);
    ASSERT_TRUE(reply.has_value());
    if (std::holds_alternative<SpawnedReply>(*reply)) ++spawned;
    if (std::holds_alternative<ExitedReply>(*reply)) ++exited;
  }
  EXPECT_EQ(spawned, kCount);
}

}  // namespace
}  // namespace weir::io
