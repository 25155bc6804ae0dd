#include "io/backend.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>

#include <cerrno>
#include <deque>
#include <string>
#include <vector>

#include "tests/io/recording_op.h"
#include "tests/io/test_loop.h"

// What every backend promises its callers, tried on each.
namespace weir::io {
namespace {

class Backends : public testing::TestWithParam<BackendKind> {
 protected:
  BackendKind kind() const { return GetParam(); }
};

struct AcceptMode {
  BackendKind kind;
  bool multishot;
};
class BackendAccept : public testing::TestWithParam<AcceptMode> {};

TEST_P(BackendAccept, delivers_every_connection_until_cancelled) {
  TestLoop test({.multishot_accept = GetParam().multishot}, GetParam().kind);
  Backend& backend = test.loop.backend();
  sockaddr_in address;
  const int listen_fd = listening_socket(address);
  RecordingOp accept(OpKind::accept, listen_fd);
  backend.submit(accept);
  constexpr std::size_t kConnections = 20;
  std::deque<RecordingOp> connects;
  std::vector<int> fds;
  for (std::size_t i = 0; i < kConnections; ++i) {
    fds.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    RecordingOp& op = connects.emplace_back(OpKind::connect, fds.back());
    op.address = reinterpret_cast<sockaddr*>(&address);
    op.address_bytes = sizeof address;
    backend.submit(op);
  }
  test.run_until([&] { return accept.seen.size() == kConnections; });
  for (const Completion& completion : accept.seen) {
    EXPECT_TRUE(completion.more);
    EXPECT_GE(completion.result, 0);
    EXPECT_NE(::fcntl(completion.result, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(completion.result, F_GETFD) & FD_CLOEXEC, 0);
    fds.push_back(completion.result);
  }
  test.run_until([&] {
    for (RecordingOp& op : connects) {
      if (!op.done()) return false;
    }
    return true;
  });
  for (RecordingOp& op : connects) EXPECT_EQ(op.seen.at(0).result, 0);
  backend.cancel(accept);
  test.run_until([&] { return accept.done(); });
  EXPECT_EQ(accept.seen.back().result, -ECANCELED);
  for (const int fd : fds) ::close(fd);
  ::close(listen_fd);
}
INSTANTIATE_TEST_SUITE_P(Modes, BackendAccept,
                         testing::Values(AcceptMode{BackendKind::io_uring, true},
                                         AcceptMode{BackendKind::io_uring, false},
                                         AcceptMode{BackendKind::epoll, false}));

TEST_P(Backends, a_refused_connect_tells_so) {
  TestLoop test({}, kind());
  sockaddr_in address;
  ::close(listening_socket(address));
  RecordingOp connect(OpKind::connect, ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  connect.address = reinterpret_cast<sockaddr*>(&address);
  connect.address_bytes = sizeof address;
  test.loop.backend().submit(connect);
  test.run_until([&] { return connect.done(); });
  EXPECT_EQ(connect.seen.at(0).result, -ECONNREFUSED);
  ::close(connect.fd);
}

TEST_P(Backends, recvs_that_find_no_buffer_are_served_in_order_as_buffers_come_back) {
  constexpr std::size_t kSockets = 8;
  TestLoop test({.recv_buffers = 2, .recv_buffer_bytes = 4096}, kind());
  Backend& backend = test.loop.backend();
  std::deque<RecordingOp> recvs;
  std::vector<int> peers;
  for (std::size_t i = 0; i < kSockets; ++i) {
    const std::array<int, 2> pair = socket_pair();
    RecordingOp& op = recvs.emplace_back(OpKind::recv, pair[0]);
    peers.push_back(pair[1]);
    backend.submit(op);
    test.run_turns(2);  // armed while buffers are free or not: idle ones need none
    EXPECT_FALSE(op.done());
    ASSERT_EQ(::write(pair[1], "0123456789", i + 1), static_cast<ssize_t>(i + 1));
  }
  std::size_t served = 0;
  while (served < kSockets) {
    const std::size_t lent_max = std::min(served + 2, kSockets);
    test.run_until([&] {
      std::size_t done = 0;
      for (RecordingOp& op : recvs) done += op.done() ? 1 : 0;
      return done == lent_max;
    });
    test.run_turns(3);
    for (std::size_t i = lent_max; i < kSockets; ++i) EXPECT_FALSE(recvs[i].done()) << i;
    for (; served < lent_max; ++served) {
      const Completion& completion = recvs[served].seen.at(0);
      EXPECT_EQ(completion.data.size(), served + 1);
      backend.give_back(completion.buffer_id);
    }
  }
  for (std::size_t i = 0; i < kSockets; ++i) {
    ::close(recvs[i].fd);
    ::close(peers[i]);
  }
}

TEST_P(Backends, a_starved_recv_can_be_cancelled) {
  TestLoop test({.recv_buffers = 1, .recv_buffer_bytes = 4096}, kind());
  Backend& backend = test.loop.backend();
  const std::array<int, 2> fed = socket_pair();
  const std::array<int, 2> starving = socket_pair();
  const std::array<int, 2> other = socket_pair();
  RecordingOp first(OpKind::recv, fed[0]);
  RecordingOp second(OpKind::recv, starving[0]);
  RecordingOp third(OpKind::recv, other[0]);
  for (RecordingOp* op : {&first, &second, &third}) backend.submit(*op);
  ASSERT_EQ(::write(fed[1], "x", 1), 1);
  test.run_until([&] { return first.done(); });
  ASSERT_EQ(::write(starving[1], "x", 1), 1);
  ASSERT_EQ(::write(other[1], "x", 1), 1);
  test.run_turns(3);
  EXPECT_FALSE(second.done());
  backend.cancel_fd(starving[0]);
  backend.cancel(third);
  test.run_until([&] { return second.done() && third.done(); });
  EXPECT_EQ(second.seen.at(0).result, -ECANCELED);
  EXPECT_EQ(third.seen.at(0).result, -ECANCELED);
  EXPECT_EQ(second.seen.at(0).buffer_id, kNoBuffer);
  backend.give_back(first.seen.at(0).buffer_id);
  for (const auto& pair : {fed, starving, other}) {
    ::close(pair[0]);
    ::close(pair[1]);
  }
}

TEST_P(Backends, a_send_to_a_slow_reader_completes_once_with_all_of_it) {
  TestLoop test({}, kind());
  const std::array<int, 2> pair = socket_pair();
  std::vector<std::uint8_t> bytes(8u << 20, 0x5a);
  RecordingOp send(OpKind::send, pair[0]);
  send.buffer = bytes;
  test.loop.backend().submit(send);
  std::size_t received = 0;
  std::vector<char> into(256 * 1024);
  test.run_until([&] {
    const ssize_t got = ::read(pair[1], into.data(), into.size());
    if (got > 0) received += static_cast<std::size_t>(got);
    test.loop.turn(Instant::min());
    return received == bytes.size();
  });
  test.run_until([&] { return send.done(); });
  ASSERT_EQ(send.seen.size(), 1u);
  EXPECT_EQ(send.seen[0].result, static_cast<std::int32_t>(bytes.size()));
  ::close(pair[0]);
  ::close(pair[1]);
}

TEST_P(Backends, more_operations_than_the_queue_holds_all_complete) {
  TestLoop test({.sq_entries = 8, .cq_entries = 16}, kind());
  constexpr int kOps = 300;
  std::deque<RecordingOp> reads;
  const std::array<int, 2> pipe = pipe_pair();
  std::vector<std::uint8_t> bytes(kOps);
  for (int i = 0; i < kOps; ++i) {
    RecordingOp& op = reads.emplace_back(OpKind::read, pipe[0]);
    op.buffer = std::span(bytes).subspan(static_cast<std::size_t>(i), 1);
    test.loop.backend().submit(op);
  }
  test.run_turns(3);
  const std::string text(kOps, 'y');
  ASSERT_EQ(::write(pipe[1], text.data(), text.size()), kOps);
  test.run_until([&] {
    for (RecordingOp& op : reads) {
      if (!op.done()) return false;
    }
    return true;
  });
  for (RecordingOp& op : reads) EXPECT_EQ(op.seen.at(0).result, 1);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST_P(Backends, a_cancel_by_descriptor_ends_every_operation_on_it) {
  TestLoop test({}, kind());
  const std::array<int, 2> pair = socket_pair();
  RecordingOp recv(OpKind::recv, pair[0]);
  RecordingOp poll(OpKind::poll, pair[0]);
  poll.poll_mask = POLLIN;
  RecordingOp elsewhere(OpKind::recv, pair[1]);
  for (RecordingOp* op : {&recv, &poll, &elsewhere}) test.loop.backend().submit(*op);
  test.run_turns(2);
  test.loop.backend().cancel_fd(pair[0]);
  test.run_until([&] { return recv.done() && poll.done(); });
  EXPECT_EQ(recv.seen.at(0).result, -ECANCELED);
  EXPECT_EQ(poll.seen.at(0).result, -ECANCELED);
  EXPECT_FALSE(elsewhere.done());
  test.loop.backend().cancel(elsewhere);
  test.run_until([&] { return elsewhere.done(); });
  ::close(pair[0]);
  ::close(pair[1]);
}

INSTANTIATE_TEST_SUITE_P(Twins, Backends,
                         testing::Values(BackendKind::io_uring, BackendKind::epoll),
                         [](const auto& info) {
                           return info.param == BackendKind::epoll ? "epoll" : "io_uring";
                         });

}  // namespace
}  // namespace weir::io
