#include "io/backend.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
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
  backend.cancel(second);
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

TEST_P(Backends, a_cancel_ends_each_operation_of_a_descriptor_and_no_other) {
  TestLoop test({}, kind());
  const std::array<int, 2> pair = socket_pair();
  RecordingOp recv(OpKind::recv, pair[0]);
  RecordingOp poll(OpKind::poll, pair[0]);
  poll.poll_mask = POLLIN;
  RecordingOp elsewhere(OpKind::recv, pair[1]);
  for (RecordingOp* op : {&recv, &poll, &elsewhere}) test.loop.backend().submit(*op);
  test.run_turns(2);
  for (RecordingOp* op : {&recv, &poll}) test.loop.backend().cancel(*op);
  test.run_until([&] { return recv.done() && poll.done(); });
  EXPECT_EQ(recv.seen.at(0).result, -ECANCELED);
  EXPECT_EQ(poll.seen.at(0).result, -ECANCELED);
  EXPECT_FALSE(elsewhere.done());
  test.loop.backend().cancel(elsewhere);
  test.run_until([&] { return elsewhere.done(); });
  ::close(pair[0]);
  ::close(pair[1]);
}

TEST_P(Backends, a_recv_and_a_send_and_a_poll_of_one_socket_do_not_disturb_each_other) {
  TestLoop test({}, kind());
  Backend& backend = test.loop.backend();
  const std::array<int, 2> pair = socket_pair();
  std::vector<std::uint8_t> bytes(4U << 20, 0x11);
  RecordingOp send(OpKind::send, pair[0]);
  send.buffer = bytes;
  RecordingOp recv(OpKind::recv, pair[0]);
  RecordingOp poll(OpKind::poll, pair[0]);
  poll.poll_mask = POLLIN;
  for (RecordingOp* op : {&send, &recv, &poll}) backend.submit(*op);
  test.run_turns(3);
  EXPECT_FALSE(send.done() || recv.done() || poll.done());
  ASSERT_EQ(::write(pair[1], "abc", 3), 3);
  test.run_until([&] { return recv.done() && poll.done(); });
  EXPECT_EQ(recv.seen.at(0).result, 3);
  EXPECT_EQ(poll.seen.at(0).result, POLLIN);
  EXPECT_FALSE(send.done());
  backend.give_back(recv.seen[0].buffer_id);
  std::size_t received = 0;
  std::vector<char> into(256 * 1024);
  test.run_until([&] {
    const ssize_t got = ::read(pair[1], into.data(), into.size());
    if (got > 0) received += static_cast<std::size_t>(got);
    return received == bytes.size();
  });
  test.run_until([&] { return send.done(); });
  EXPECT_EQ(send.seen.at(0).result, static_cast<std::int32_t>(bytes.size()));
  for (const int fd : pair) ::close(fd);
}

TEST_P(Backends, a_send_that_is_cut_short_tells_what_left_and_the_next_one_why) {
  TestLoop test({}, kind());
  const std::array<int, 2> pair = socket_pair();
  std::vector<std::uint8_t> bytes(4U << 20, 0x22);
  RecordingOp send(OpKind::send, pair[0]);
  send.buffer = bytes;
  test.loop.backend().submit(send);
  test.run_turns(3);
  EXPECT_FALSE(send.done());
  ::close(pair[1]);
  test.run_until([&] { return send.done(); });
  ASSERT_EQ(send.seen.size(), 1U);
  EXPECT_GT(send.seen[0].result, 0);
  EXPECT_LT(send.seen[0].result, static_cast<std::int32_t>(bytes.size()));
  test.loop.backend().submit(send);
  test.run_until([&] { return send.done(); });
  EXPECT_EQ(send.seen.at(1).result, -EPIPE);
  ::close(pair[0]);
}

TEST_P(Backends, a_cancelled_send_tells_what_left) {
  TestLoop test({}, kind());
  const std::array<int, 2> pair = socket_pair();
  std::vector<std::uint8_t> bytes(4U << 20, 0x33);
  RecordingOp send(OpKind::send, pair[0]);
  send.buffer = bytes;
  test.loop.backend().submit(send);
  test.run_turns(3);
  test.loop.backend().cancel(send);
  test.run_until([&] { return send.done(); });
  std::vector<char> into(bytes.size());
  EXPECT_EQ(::read(pair[1], into.data(), into.size()), send.seen.at(0).result);
  for (const int fd : pair) ::close(fd);
}

// The owner closes a descriptor that has been waited on while a child's copy lives, and the number
// is used again for another file: the copy's readiness must not be taken for the new one's.
TEST_P(Backends, a_descriptor_number_that_is_used_again_is_another_file) {
  TestLoop test({}, kind());
  Backend& backend = test.loop.backend();
  for (int round = 0; round < 3; ++round) {
    const std::array<int, 2> old_pipe = pipe_pair();
    const int copy = ::dup(old_pipe[0]);
    RecordingOp cancelled(OpKind::poll, old_pipe[0]);
    cancelled.poll_mask = POLLIN;
    backend.submit(cancelled);
    test.run_turns(2);
    if (round != 1) {
      backend.cancel(cancelled);
    } else {
      ASSERT_EQ(::write(old_pipe[1], "x", 1), 1);
    }
    test.run_until([&] { return cancelled.done(); });
    EXPECT_EQ(cancelled.seen.at(0).result, round != 1 ? -ECANCELED : POLLIN);
    ::close(old_pipe[0]);
    const std::array<int, 2> fresh = pipe_pair();
    ASSERT_EQ(fresh[0], old_pipe[0]);
    RecordingOp poll(OpKind::poll, fresh[0]);
    poll.poll_mask = POLLIN;
    backend.submit(poll);
    ASSERT_EQ(::write(old_pipe[1], "y", 1), 1);
    test.run_turns(3);
    EXPECT_FALSE(poll.done());
    ASSERT_EQ(::write(fresh[1], "z", 1), 1);
    test.run_until([&] { return poll.done(); });
    EXPECT_EQ(poll.seen.at(0).result, POLLIN);
    for (const int fd : {copy, old_pipe[1], fresh[0], fresh[1]}) ::close(fd);
  }
}

TEST_P(Backends, close_is_an_operation_that_ends_with_the_descriptor_gone) {
  TestLoop test({}, kind());
  const std::array<int, 2> pair = socket_pair();
  RecordingOp close(OpKind::close, pair[0]);
  test.loop.backend().submit(close);
  EXPECT_TRUE(close.seen.empty());
  test.run_until([&] { return close.done(); });
  EXPECT_EQ(close.seen.at(0).result, 0);
  EXPECT_EQ(::fcntl(pair[0], F_GETFD), -1);
  char byte = 0;
  EXPECT_EQ(::read(pair[1], &byte, 1), 0);
  test.loop.backend().submit(close);
  test.run_until([&] { return close.done(); });
  EXPECT_EQ(close.seen.at(1).result, -EBADF);
  ::close(pair[1]);
}

TEST_P(Backends, operations_on_no_descriptor_fail_each_on_its_own) {
  TestLoop test({}, kind());
  std::array<std::uint8_t, 4> bytes{};
  std::deque<RecordingOp> ops;
  for (const OpKind each :
       {OpKind::accept, OpKind::recv, OpKind::send, OpKind::read, OpKind::write, OpKind::poll}) {
    for (const int fd : {-1, 1'000'000'000}) {
      RecordingOp& op = ops.emplace_back(each, fd);
      op.buffer = bytes;
      op.poll_mask = POLLIN;
      test.loop.backend().submit(op);
      EXPECT_TRUE(op.seen.empty());
    }
  }
  test.run_until([&] { return std::ranges::all_of(ops, &RecordingOp::done); });
  for (const RecordingOp& op : ops) EXPECT_EQ(op.seen.at(0).result, -EBADF);
}

TEST_P(Backends, files_are_read_written_and_always_ready) {
  TestLoop test({}, kind());
  Backend& backend = test.loop.backend();
  for (const bool on_disk : {false, true}) {
    std::string path = "/var/tmp/weir-backend-test-XXXXXX";
    const int fd = on_disk ? ::mkostemp(path.data(), O_CLOEXEC) : ::memfd_create("weir-test", 0);
    ASSERT_GE(fd, 0);
    if (on_disk) ::unlink(path.c_str());
    std::vector<std::uint8_t> bytes(1U << 20);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 7);
    RecordingOp write(OpKind::write, fd);
    write.buffer = bytes;
    write.offset = 0;
    backend.submit(write);
    test.run_until([&] { return write.done(); });
    ASSERT_EQ(write.seen.at(0).result, static_cast<std::int32_t>(bytes.size()));
    // Cold as far as the kernel lets us make it: then the read has to wait for the disk.
    ::fdatasync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    std::vector<std::uint8_t> into(bytes.size());
    RecordingOp read(OpKind::read, fd);
    read.buffer = into;
    read.offset = 4096;
    RecordingOp end(OpKind::read, fd);
    end.buffer = into;
    end.offset = bytes.size();
    RecordingOp poll(OpKind::poll, fd);
    poll.poll_mask = POLLIN;
    backend.submit(read);
    test.run_until([&] { return read.done(); });
    for (RecordingOp* op : {&end, &poll}) backend.submit(*op);
    test.run_until([&] { return end.done() && poll.done(); });
    EXPECT_EQ(read.seen.at(0).result, static_cast<std::int32_t>(bytes.size() - 4096));
    EXPECT_TRUE(std::equal(bytes.begin() + 4096, bytes.end(), into.begin()));
    EXPECT_EQ(end.seen.at(0).result, 0);
    EXPECT_EQ(poll.seen.at(0).result, POLLIN);
    ::close(fd);
  }
}

TEST_P(Backends, many_cold_reads_at_once_all_end_whether_cancelled_or_not) {
  TestLoop test({}, kind());
  Backend& backend = test.loop.backend();
  std::string path = "/var/tmp/weir-backend-test-XXXXXX";
  const int fd = ::mkostemp(path.data(), O_CLOEXEC);
  ASSERT_GE(fd, 0);
  ::unlink(path.c_str());
  constexpr std::size_t kPieces = 64, kPieceBytes = 16 * 1024;
  std::vector<std::uint8_t> bytes(kPieces * kPieceBytes, 0x44);
  ASSERT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  ::fdatasync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  std::vector<std::uint8_t> into(bytes.size());
  std::deque<RecordingOp> reads;
  for (std::size_t i = 0; i < kPieces; ++i) {
    RecordingOp& op = reads.emplace_back(OpKind::read, fd);
    op.buffer = std::span(into).subspan(i * kPieceBytes, kPieceBytes);
    op.offset = i * kPieceBytes;
    backend.submit(op);
  }
  test.run_turns(1);
  for (RecordingOp& op : reads) backend.cancel(op);
  test.run_until([&] { return std::ranges::all_of(reads, &RecordingOp::done); });
  for (const RecordingOp& op : reads) {
    ASSERT_EQ(op.seen.size(), 1U);
    const std::int32_t result = op.seen[0].result;
    EXPECT_TRUE(result == -ECANCELED || result == -EINTR || result == int{kPieceBytes}) << result;
  }
  ::close(fd);
}

TEST_P(Backends, pipes_that_block_do_not_block_the_loop) {
  TestLoop test({}, kind());
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  std::array<std::uint8_t, 8> into{};
  RecordingOp read(OpKind::read, pipe[0]);
  read.buffer = into;
  test.loop.backend().submit(read);
  test.run_turns(3);
  EXPECT_FALSE(read.done());
  ASSERT_EQ(::write(pipe[1], "abcd", 4), 4);
  test.run_until([&] { return read.done(); });
  EXPECT_EQ(read.seen.at(0).result, 4);
  // A write larger than the pipe: some of it at once or later, the rest is the caller's to send.
  std::vector<std::uint8_t> big(1U << 20, 9);
  std::span<std::uint8_t> rest = big;
  std::vector<char> drained(64 * 1024);
  std::size_t got = 0;
  while (!rest.empty()) {
    RecordingOp write(OpKind::write, pipe[1]);
    write.buffer = rest;
    test.loop.backend().submit(write);
    test.run_until([&] {
      struct pollfd readable{pipe[0], POLLIN, 0};
      if (::poll(&readable, 1, 0) == 1) {
        got += static_cast<std::size_t>(::read(pipe[0], drained.data(), drained.size()));
      }
      return write.done();
    });
    ASSERT_GT(write.seen.at(0).result, 0);
    rest = rest.subspan(static_cast<std::size_t>(write.seen[0].result));
  }
  while (got < big.size()) {
    got += static_cast<std::size_t>(::read(pipe[0], drained.data(), drained.size()));
  }
  for (const int fd : pipe) ::close(fd);
}

INSTANTIATE_TEST_SUITE_P(Twins, Backends,
                         testing::Values(BackendKind::io_uring, BackendKind::epoll),
                         [](const auto& info) {
                           return info.param == BackendKind::epoll ? "epoll" : "io_uring";
                         });

}  // namespace
}  // namespace weir::io
