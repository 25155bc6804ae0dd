#include "io/listener.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

class ListenerTest : public testing::Test {
 protected:
  ListenerTest() {
    listen_fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    EXPECT_EQ(::bind(listen_fd, reinterpret_cast<sockaddr*>(&address), bytes), 0);
    EXPECT_EQ(::listen(listen_fd, 128), 0);
    EXPECT_EQ(::getsockname(listen_fd, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  }
  ~ListenerTest() override {
    for (const int fd : clients) ::close(fd);
    for (const int fd : accepted) ::close(fd);
    ::close(listen_fd);
  }
  void connect() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd, 0);
    clients.push_back(fd);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  void stop(Listener& listener) {
    bool stopped = false;
    listener.stop([&] { stopped = true; });
    EXPECT_FALSE(stopped);
    test.run_until([&] { return stopped; });
  }
  Listener::OnConnection keep() {
    return [this](EventLoop& owner, int fd) {
      EXPECT_EQ(&owner, &test.loop);
      accepted.push_back(fd);
    };
  }
  TestLoop test;
  std::vector<EventLoop*> loops{&test.loop};
  int listen_fd = -1;
  sockaddr_in address{};
  std::vector<int> clients;
  std::vector<int> accepted;
};

TEST_F(ListenerTest, accepts_with_the_options_every_connection_needs) {
  Listener listener(test.loop, listen_fd, loops, keep());
  listener.start();
  connect();
  test.run_until([&] { return accepted.size() == 1; });
  int value = 0;
  socklen_t bytes = sizeof value;
  ASSERT_EQ(::getsockopt(accepted[0], IPPROTO_TCP, TCP_NODELAY, &value, &bytes), 0);
  EXPECT_NE(value, 0);
  ASSERT_EQ(::getsockopt(accepted[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &bytes), 0);
  EXPECT_EQ(value, 128 * 1024);
  EXPECT_EQ(test.loop.load().load(), 1);
  stop(listener);
}

TEST_F(ListenerTest, stopping_leaves_the_queue_to_whoever_accepts_next) {
  {
    Listener listener(test.loop, listen_fd, loops, keep());
    listener.start();
    connect();
    test.run_until([&] { return accepted.size() == 1; });
    stop(listener);
  }
  connect();  // the kernel queues it: nobody is refused
  test.run_turns(5);
  EXPECT_EQ(accepted.size(), 1u);
  Listener next(test.loop, listen_fd, loops, keep());
  next.start();
  test.run_until([&] { return accepted.size() == 2; });
  stop(next);
}

TEST_F(ListenerTest, connections_of_the_moment_of_stopping_are_served) {
  Listener listener(test.loop, listen_fd, loops, keep());
  listener.start();
  test.run_turns(2);
  for (int i = 0; i < 10; ++i) connect();
  stop(listener);
  // What was accepted is handed out; what was not is still in the queue: none is lost.
  const std::size_t taken = accepted.size();
  Listener next(test.loop, listen_fd, loops, keep());
  next.start();
  test.run_until([&] { return accepted.size() == 10; });
  EXPECT_LE(taken, 10u);
  stop(next);
}

TEST_F(ListenerTest, pauses_without_descriptors_and_goes_on_when_some_come_free) {
  Listener listener(test.loop, listen_fd, loops, keep());
  for (int i = 0; i < 3; ++i) connect();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  listener.start();
  test.run_until([&] { return listener.stats().paused.load() > 0; });
  EXPECT_EQ(accepted.size(), 0u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  test.run_until([&] { return accepted.size() == 3; });
  stop(listener);
}

TEST_F(ListenerTest, hands_connections_to_an_idle_loop_once_it_is_far_ahead) {
  const SystemClock clock;
  EventLoop idle(1, test_backend(), clock);
  loops.push_back(&idle);
  std::vector<int> on_idle;  // read after its thread has ended
  Listener listener(test.loop, listen_fd, loops, [&](EventLoop& owner, int fd) {
    EXPECT_EQ(&owner, EventLoop::current_or_null());
    (&owner == &idle ? on_idle : accepted).push_back(fd);
  });
  listener.start();
  std::thread runner([&] { EXPECT_TRUE(idle.run().has_value()); });
  constexpr int kConnections = 40;
  for (int i = 0; i < kConnections; ++i) connect();
  test.run_until([&] { return listener.stats().accepted.load() == kConnections; });
  stop(listener);
  idle.stop();
  runner.join();
  // Ours goes ahead by at most 8 + 1; the rest is shared.
  EXPECT_EQ(accepted.size() + on_idle.size(), std::size_t{kConnections});
  EXPECT_EQ(listener.stats().handed_off.load(), on_idle.size());
  EXPECT_GE(on_idle.size(), 15u);
  EXPECT_GE(accepted.size(), on_idle.size());
  for (const int fd : on_idle) ::close(fd);
}

// Waits for the listening socket as the ring of a killed process does: takes the kernel's one
// wake-up for a connection, and never accepts.
class WakeThief {
 public:
  explicit WakeThief(int listen_fd) : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event{.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, .data = {}};
    EXPECT_EQ(::epoll_ctl(epoll_, EPOLL_CTL_ADD, listen_fd, &event), 0);
    thread_ = std::thread([this] {
      epoll_event got;
      while (!over_) {
        if (::epoll_wait(epoll_, &got, 1, 10) > 0) ++wakes;
      }
    });
  }
  ~WakeThief() {
    over_ = true;
    thread_.join();
    ::close(epoll_);
  }
  std::atomic<int> wakes{0};

 private:
  int epoll_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

TEST_F(ListenerTest, a_connection_whose_wake_up_another_process_took_is_found) {
  WakeThief thief(listen_fd);
  Listener listener(test.loop, listen_fd, loops, keep());
  listener.start();
  // Whether the thief is waiting at a moment is up to the scheduler.
  for (std::size_t i = 1; thief.wakes < 3; ++i) {
    connect();
    test.run_until([&] { return accepted.size() == i; });
  }
  stop(listener);
}

TEST_F(ListenerTest, stops_before_it_started) {
  Listener listener(test.loop, listen_fd, loops, keep());
  stop(listener);
}

}  // namespace
}  // namespace weir::io
