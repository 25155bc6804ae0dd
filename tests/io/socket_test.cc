#include "io/socket.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

// Records what the Socket tells and destroys it where a Stream would: inside on_closed().
struct Recorder final : SocketHandler {
  Recorder(EventLoop& loop, int fd) : socket(std::make_unique<Socket>(loop, fd, *this)) {}
  void on_recv(std::span<const std::uint8_t> bytes) override {
    EXPECT_FALSE(closed);
    if (bytes.empty()) ended = true;
    received.append(bytes.begin(), bytes.end());
    if (in_recv) in_recv();
  }
  void on_sent(std::size_t bytes) override {
    EXPECT_FALSE(closed);
    sent += bytes;
    if (in_sent) in_sent();
  }
  void on_error(int sys_errno) override {
    error = sys_errno;
    socket->close();
  }
  void on_closed() override {
    EXPECT_FALSE(closed);
    closed = true;
    socket.reset();
  }
  std::unique_ptr<Socket> socket;
  std::string received;
  std::size_t sent = 0;
  int error = 0;
  bool ended = false;
  bool closed = false;
  std::function<void()> in_recv;
  std::function<void()> in_sent;
};

std::array<int, 2> tcp_pair() {
  const int listen_fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  EXPECT_EQ(::bind(listen_fd, reinterpret_cast<sockaddr*>(&address), bytes), 0);
  EXPECT_EQ(::listen(listen_fd, 1), 0);
  EXPECT_EQ(::getsockname(listen_fd, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), bytes), 0);
  const int server = ::accept4(listen_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  ::close(listen_fd);
  ::fcntl(client, F_SETFL, O_NONBLOCK);
  return {server, client};
}

bool is_closed(int fd) {
  return ::fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

class SocketTest : public testing::TestWithParam<bool> {
 protected:
  SocketTest() : fds(GetParam() ? tcp_pair() : socket_pair()), ours(test.loop, fds[0]) {}
  ~SocketTest() override {
    if (ours.socket != nullptr) ours.socket->close();
    test.run_until([&] { return ours.closed; });
    EXPECT_TRUE(is_closed(fds[0]));
    if (peer() >= 0) ::close(peer());
  }
  int peer() const { return fds[1]; }
  void peer_writes(std::string_view text) {
    ASSERT_EQ(::send(peer(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  void peer_closes() { ::close(std::exchange(fds[1], -1)); }
  TestLoop test;
  std::array<int, 2> fds;
  Recorder ours;
};
INSTANTIATE_TEST_SUITE_P(Kinds, SocketTest, testing::Bool(),
                         [](const auto& kind) { return kind.param ? "Tcp" : "Unix"; });

TEST_P(SocketTest, receives_one_piece_for_each_recv) {
  ours.socket->recv();
  ours.socket->recv();  // armed already: no effect
  peer_writes("one");
  test.run_until([&] { return ours.received == "one"; });
  peer_writes("two");
  test.run_turns(5);
  EXPECT_EQ(ours.received, "one");  // not asked for: the peer waits
  ours.socket->recv();
  test.run_until([&] { return ours.received == "onetwo"; });
}

TEST_P(SocketTest, tells_the_end_of_the_stream_once) {
  ours.socket->recv();
  peer_writes("last");
  ::shutdown(peer(), SHUT_WR);
  ours.in_recv = [&] { ours.socket->recv(); };
  test.run_until([&] { return ours.ended; });
  EXPECT_EQ(ours.received, "last");
  ours.socket->recv();
  EXPECT_FALSE(ours.socket->receiving());
}

TEST_P(SocketTest, sends_everything_to_a_slow_reader) {
  const std::vector<std::uint8_t> bytes(6u << 20, 0x21);
  ours.socket->send(bytes);
  std::size_t read = 0;
  std::vector<char> into(100'000);
  test.run_until([&] {
    const ssize_t got = ::recv(peer(), into.data(), into.size(), 0);
    if (got > 0) read += static_cast<std::size_t>(got);
    return read == bytes.size();
  });
  test.run_until([&] { return ours.sent > 0; });
  EXPECT_EQ(ours.sent, bytes.size());
}

TEST_P(SocketTest, sends_again_from_inside_on_sent) {
  const std::vector<std::uint8_t> bytes(10, 0x21);
  int left = 5;
  ours.in_sent = [&] {
    if (--left > 0) ours.socket->send(bytes);
  };
  ours.socket->send(bytes);
  test.run_until([&] { return left == 0; });
  EXPECT_EQ(ours.sent, 50u);
}

TEST_P(SocketTest, half_close_lets_the_peer_answer) {
  ours.socket->shutdown_write();
  char byte = 0;
  test.run_until([&] { return ::recv(peer(), &byte, 1, 0) == 0; });
  ours.socket->recv();
  peer_writes("answer");
  test.run_until([&] { return ours.received == "answer"; });
}

TEST_P(SocketTest, an_idle_socket_closes) {
  ours.socket->close();
  ours.socket->close();  // idempotent
  EXPECT_TRUE(ours.socket->closing());
  EXPECT_FALSE(ours.closed);  // from a later turn, never inside close()
  test.run_until([&] { return ours.closed; });
}

TEST_P(SocketTest, closes_with_a_recv_in_flight_and_drops_what_the_peer_writes_then) {
  ours.socket->recv();
  test.run_turns(2);
  ours.socket->close();
  ::send(peer(), "late", 4, MSG_NOSIGNAL);
  test.run_until([&] { return ours.closed; });
  ::send(peer(), "later", 5, MSG_NOSIGNAL);
  test.run_turns(5);
  EXPECT_EQ(ours.received, "");
  EXPECT_FALSE(ours.ended);
}

TEST_P(SocketTest, bytes_that_race_with_close_are_dropped_and_their_buffer_returns) {
  ours.socket->recv();
  test.run_turns(2);
  peer_writes("raced");  // the recv completes in the kernel, its completion is not yet collected
  ours.socket->close();
  test.run_until([&] { return ours.closed; });
  EXPECT_EQ(ours.received, "");
}

TEST_P(SocketTest, closes_from_inside_on_recv_even_with_the_next_recv_armed) {
  ours.in_recv = [&] {
    ours.socket->recv();
    ours.socket->close();
    EXPECT_FALSE(ours.closed);
  };
  ours.socket->recv();
  peer_writes("goodbye");
  test.run_until([&] { return ours.closed; });
  EXPECT_EQ(ours.received, "goodbye");
}

TEST_P(SocketTest, closes_during_a_send_to_a_reader_that_does_not_read) {
  auto bytes = std::make_unique<std::vector<std::uint8_t>>(6u << 20, 0x33);
  ours.socket->send(*bytes);
  test.run_turns(3);
  EXPECT_TRUE(ours.socket->sending());
  ours.socket->close();
  test.run_until([&] { return ours.closed; });
  bytes.reset();  // after on_closed nobody reads it; before, the join would have been too early
  EXPECT_EQ(ours.sent, 0u);
  EXPECT_EQ(ours.error, 0);
}

TEST_P(SocketTest, closes_with_send_and_recv_both_in_flight_before_they_were_submitted) {
  const std::vector<std::uint8_t> bytes(6u << 20, 0x33);
  ours.socket->recv();
  ours.socket->send(bytes);
  ours.socket->close();  // same turn: the queue holds recv, send, cancel
  test.run_until([&] { return ours.closed; });
}

TEST_P(SocketTest, a_send_to_a_peer_that_left_is_an_error) {
  peer_closes();
  const std::vector<std::uint8_t> bytes(4u << 20, 0x33);
  ours.socket->send(bytes);
  test.run_until([&] { return ours.closed; });
  EXPECT_TRUE(ours.error == EPIPE || ours.error == ECONNRESET) << ours.error;
}

TEST_P(SocketTest, a_peer_that_leaves_in_the_middle_of_a_send_is_an_error) {
  const std::vector<std::uint8_t> bytes(6u << 20, 0x33);
  ours.socket->send(bytes);
  test.run_turns(3);
  peer_closes();
  test.run_until([&] { return ours.closed; });
  EXPECT_TRUE(ours.error == EPIPE || ours.error == ECONNRESET) << ours.error;
  EXPECT_EQ(ours.sent, 0u);
}

TEST_P(SocketTest, ignores_recv_and_send_once_it_is_closing) {
  ours.socket->close();
  ours.socket->recv();
  const std::vector<std::uint8_t> bytes(1);
  ours.socket->send(bytes);
  EXPECT_FALSE(ours.socket->receiving());
  EXPECT_FALSE(ours.socket->sending());
}

// Many sockets over two receive buffers, closed at random moments while their peers write and read:
// every one must end, with its descriptor closed and every buffer back.
TEST(SocketClose, survives_random_orders_with_scarce_buffers) {
  std::mt19937 random(11);
  TestLoop test({.recv_buffers = 2, .recv_buffer_bytes = 512});
  const std::vector<std::uint8_t> bytes(2u << 20, 0x44);
  for (int round = 0; round < 30; ++round) {
    std::vector<std::unique_ptr<Recorder>> sockets;
    std::vector<int> peers;
    for (int i = 0; i < 12; ++i) {
      const std::array<int, 2> fds = socket_pair();
      peers.push_back(fds[1]);
      Recorder& recorder = *sockets.emplace_back(std::make_unique<Recorder>(test.loop, fds[0]));
      recorder.in_recv = [&recorder] { recorder.socket->recv(); };
      recorder.socket->recv();
      if (random() % 2 == 0) recorder.socket->send(bytes);
    }
    for (int step = 0; step < 60; ++step) {
      const std::size_t i = random() % sockets.size();
      char junk[700] = {};
      switch (random() % 4) {
        case 0:
          if (peers[i] >= 0) (void)!::send(peers[i], junk, sizeof junk, MSG_NOSIGNAL);
          break;
        case 1:
          if (peers[i] >= 0) (void)!::recv(peers[i], junk, sizeof junk, 0);
          break;
        case 2:
          if (random() % 3 == 0 && sockets[i]->socket != nullptr) sockets[i]->socket->close();
          if (random() % 8 == 0 && peers[i] >= 0) ::close(std::exchange(peers[i], -1));
          break;
        default:
          test.loop.turn(Instant::min());
      }
    }
    for (auto& recorder : sockets) {
      if (recorder->socket != nullptr) recorder->socket->close();
    }
    test.run_until([&] {
      for (auto& recorder : sockets) {
        if (!recorder->closed) return false;
      }
      return true;
    });
    for (const int peer : peers) {
      if (peer >= 0) ::close(peer);
    }
  }
  // Both buffers are back: two sockets can hold one each at the same time.
  const std::array<int, 2> fds = socket_pair();
  Recorder last(test.loop, fds[0]);
  last.socket->recv();
  ASSERT_EQ(::write(fds[1], "x", 1), 1);
  test.run_until([&] { return last.received == "x"; });
  last.socket->close();
  test.run_until([&] { return last.closed; });
  ::close(fds[1]);
}

}  // namespace
}  // namespace weir::io
