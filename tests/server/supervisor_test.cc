// Each test runs a supervisor in a child process, with a serving process that greets each
// connection:
// "<pid> <starts> <reloads> <launcher replacements> <connections counted in shared memory>".
#include "server/supervisor.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "io/metrics.h"
#include "io/unique_fd.h"
#include "server/control_channel.h"

namespace weir::server {
namespace {

constexpr int kPatienceMs = 20'000;

enum class Behaviour { good, fails_to_start, ignores_drain };

bool alive(int socket) {
  pollfd polled = {socket, POLLIN, 0};
  return poll(&polled, 1, 0) == 0;
}

int greet_connections(ServingProcessContext context, Behaviour behaviour) {
  if (behaviour == Behaviour::fails_to_start) return 7;
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE) != 0) return 50;
  if (!io::Metrics::instance().attach(context.metrics_fd)) return 51;
  const io::Counter counter = io::Metrics::instance().counter("greeted", "", "Connections.");
  ControlChannel control(context.control_fd);
  control.send_ready();
  int reloads = 0, replaced = 0;
  for (;;) {
    pollfd polled[] = {{context.sockets.by_loop[0][0], POLLIN, 0},
                       {context.sockets.by_loop[1][0], POLLIN, 0},
                       {control.fd(), POLLIN, 0}};
    poll(polled, 3, -1);
    while (std::optional<ControlMessage> message = control.receive()) {
      switch (message->kind) {
        case ControlKind::reload:
          ++reloads;
          break;
        case ControlKind::drain:
          if (behaviour == Behaviour::ignores_drain) break;
          return 5;
        case ControlKind::stop:
          return 6;
        case ControlKind::launcher_sockets:
          if (alive(context.launcher_fds[0]) || message->descriptors.size() != 2) return 52;
          if (!alive(message->descriptors[0]) || !alive(message->descriptors[1])) return 53;
          context.launcher_fds = message->descriptors;
          ++replaced;
          break;
        case ControlKind::supervisor_gone:
          return 8;
      }
    }
    for (int i = 0; i < 2; ++i) {
      if (polled[i].revents == 0) continue;
      const io::UniqueFd connection(accept4(polled[i].fd, nullptr, nullptr, SOCK_CLOEXEC));
      counter.add();
      std::ostringstream text;
      text << getpid() << ' ' << context.starts << ' ' << reloads << ' ' << replaced << ' '
           << io::Metrics::instance().value("greeted", "");
      static_cast<void>(!write(connection.get(), text.str().data(), text.str().size()));
    }
  }
}

struct Greeting {
  pid_t pid = -1;
  int starts = 0, reloads = 0, replaced = 0, counted = 0;
};

class SupervisorTest : public testing::Test {
 protected:
  void start(Behaviour behaviour) {
    ListenOptions listening;
    listening.loops = 2;
    listening.addresses = {"127.0.0.1:0"};
    auto sockets = make_listen_sockets(listening);
    ASSERT_TRUE(sockets.has_value()) << sockets.error();
    port_ = static_cast<in_port_t>(std::stoi(sockets->addresses[0].substr(10)));
    pid_ = fork();
    if (pid_ == 0) {
      SupervisorOptions options;
      options.loops = 2;
      options.sockets = *sockets;
      _exit(supervise(std::move(options), [behaviour](ServingProcessContext context) {
        return greet_connections(std::move(context), behaviour);
      }));
    }
    close_listen_sockets(*sockets);
  }

  void TearDown() override {
    if (pid_ <= 0) return;
    kill(pid_, SIGTERM);
    EXPECT_EQ(wait_for_end(), 5);
  }

  int wait_for_end() {
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

  // Nothing: the connection was made but cut (its server died). A refusal is a failure.
  std::optional<Greeting> connect_once() {
    const io::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      refused_.fetch_add(1);
      return std::nullopt;
    }
    pollfd ready = {fd.get(), POLLIN, 0};
    if (poll(&ready, 1, kPatienceMs) <= 0) {
      ADD_FAILURE() << "connected but never served";
      return std::nullopt;
    }
    char text[128];
    const ssize_t bytes = read(fd.get(), text, sizeof text);
    if (bytes <= 0) return std::nullopt;
    Greeting got;
    std::istringstream(std::string(text, static_cast<std::size_t>(bytes))) >> got.pid >>
        got.starts >> got.reloads >> got.replaced >> got.counted;
    return got;
  }

  // Greetings until one satisfies `wanted`.
  template <typename Wanted>
  Greeting greeted(Wanted wanted) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
    while (std::chrono::steady_clock::now() < give_up) {
      const std::optional<Greeting> got = connect_once();
      if (got && wanted(*got)) return *got;
    }
    ADD_FAILURE() << "the awaited greeting never came";
    return {};
  }

  std::vector<pid_t> children_named(const std::string& name) const {
    std::vector<pid_t> found;
    const std::string id = std::to_string(pid_);
    std::ifstream list("/proc/" + id + "/task/" + id + "/children");
    for (pid_t child; list >> child;) {
      std::string comm;
      std::ifstream("/proc/" + std::to_string(child) + "/comm") >> comm;
      if (comm == name) found.push_back(child);
    }
    return found;
  }

  // The only one, once it has taken its name; not `other_than`.
  pid_t launcher(pid_t other_than = -1) const {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
    while (std::chrono::steady_clock::now() < give_up) {
      const std::vector<pid_t> found = children_named("weir-launcher");
      if (found.size() == 1 && found[0] != other_than) return found[0];
      std::this_thread::yield();
    }
    ADD_FAILURE() << "there never was one launcher";
    return -1;
  }

  in_port_t port_ = 0;
  pid_t pid_ = -1;
  std::atomic<int> refused_{0};
};

// A failed look-up must not become a signal to everybody (-1) or to our own group (0).
bool signal_one(pid_t pid, int number) {
  return pid > 1 && kill(pid, number) == 0;
}

const auto kAny = [](const Greeting&) { return true; };

io::UniqueFd open_pidfd(pid_t pid) {
  return io::UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

bool ended(const io::UniqueFd& pidfd) {
  pollfd polled = {pidfd.get(), POLLIN, 0};
  return poll(&polled, 1, kPatienceMs) == 1;
}

TEST_F(SupervisorTest, a_killed_serving_process_is_replaced_and_nobody_is_refused) {
  start(Behaviour::good);
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) connect_once();
  });
  Greeting last = greeted(kAny);
  for (int kills = 0; kills < 3; ++kills) {
    ASSERT_TRUE(signal_one(last.pid, SIGKILL));
    const Greeting next = greeted([&](const Greeting& got) { return got.pid != last.pid; });
    EXPECT_EQ(next.starts, last.starts + 1);
    EXPECT_GT(next.counted, last.counted);  // counters go on
    last = next;
  }
  done = true;
  other.join();
  EXPECT_EQ(refused_.load(), 0);
}

TEST_F(SupervisorTest, a_killed_launcher_is_replaced_under_the_running_serving_process) {
  start(Behaviour::good);
  const Greeting first = greeted(kAny);
  const pid_t killed = launcher();
  ASSERT_TRUE(signal_one(killed, SIGKILL));
  const Greeting next = greeted([](const Greeting& got) { return got.replaced == 1; });
  EXPECT_EQ(next.pid, first.pid);
  EXPECT_GT(launcher(killed), 1);
}

TEST_F(SupervisorTest, the_launcher_of_a_dead_serving_process_exits) {
  start(Behaviour::good);
  const Greeting first = greeted(kAny);
  const io::UniqueFd its_launcher = open_pidfd(launcher());
  ASSERT_TRUE(signal_one(first.pid, SIGKILL));
  EXPECT_TRUE(ended(its_launcher));
  greeted([&](const Greeting& got) { return got.pid != first.pid; });
}

TEST_F(SupervisorTest, sighup_reloads_and_sigterm_drains) {
  start(Behaviour::good);
  greeted(kAny);
  ASSERT_TRUE(signal_one(pid_, SIGHUP));
  const Greeting got = greeted([](const Greeting& g) { return g.reloads == 1; });
  const io::UniqueFd serving = open_pidfd(got.pid);
  const io::UniqueFd its_launcher = open_pidfd(launcher());
  ASSERT_TRUE(
      signal_one(got.pid, SIGTERM));  // as a unit's stop signals every process: not its business
  greeted([&](const Greeting& g) { return g.pid == got.pid; });
  ASSERT_TRUE(signal_one(pid_, SIGTERM));
  EXPECT_EQ(wait_for_end(), 5);  // what the serving process said
  EXPECT_TRUE(ended(serving));
  EXPECT_TRUE(ended(its_launcher));
}

TEST_F(SupervisorTest, a_second_sigterm_stops_at_once) {
  start(Behaviour::ignores_drain);
  greeted(kAny);
  ASSERT_TRUE(signal_one(pid_, SIGTERM));
  greeted(kAny);  // still serves
  ASSERT_TRUE(signal_one(pid_, SIGINT));
  EXPECT_EQ(wait_for_end(), 6);
}

TEST_F(SupervisorTest, everything_ends_after_the_supervisor_was_killed) {
  start(Behaviour::good);
  const Greeting got = greeted(kAny);
  const io::UniqueFd serving = open_pidfd(got.pid);
  const io::UniqueFd its_launcher = open_pidfd(launcher());
  ASSERT_TRUE(signal_one(pid_, SIGKILL));
  EXPECT_EQ(wait_for_end(), 128 + SIGKILL);
  EXPECT_TRUE(ended(serving));
  EXPECT_TRUE(ended(its_launcher));
  connect_once();
  EXPECT_EQ(refused_.load(), 1);
}

TEST_F(SupervisorTest, a_first_start_that_fails_ends_the_supervisor_with_its_code) {
  start(Behaviour::fails_to_start);
  EXPECT_EQ(wait_for_end(), 7);
}

TEST(Supervisor, restarts_wait_longer_and_longer_up_to_a_bound) {
  using std::chrono::milliseconds;
  EXPECT_EQ(restart_wait(0), milliseconds(0));
  EXPECT_EQ(restart_wait(1), milliseconds(0));
  EXPECT_EQ(restart_wait(2), milliseconds(100));
  EXPECT_EQ(restart_wait(3), milliseconds(200));
  EXPECT_EQ(restart_wait(7), milliseconds(3200));
  EXPECT_EQ(restart_wait(8), milliseconds(5000));
  EXPECT_EQ(restart_wait(1'000'000), milliseconds(5000));
}

}  // namespace
}  // namespace weir::server
