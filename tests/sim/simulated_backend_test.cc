#include "tests/sim/simulated_backend.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/io/recording_op.h"

namespace weir::io {
namespace {

struct SimulatedBackendTest : testing::Test {
  void use(SimulatedFaults faults, std::uint64_t seed = 1) { backend.emplace(clock, seed, faults); }
  void settle(const std::vector<RecordingOp*>& ops) {
    std::vector<CompletedOp> out;
    for (int waits = 0; waits < 1000; ++waits) {
      out.clear();
      backend->wait(clock.now(), out);
      for (const CompletedOp& completed : out) {
        Backend::landed(*completed.op, completed.completion);
        completed.op->on_complete(*completed.op, completed.completion);
      }
      bool done = true;
      for (const RecordingOp* op : ops) done = done && op->done();
      if (done) return;
    }
  }
  static std::span<std::uint8_t> bytes_of(std::string& text) {
    return {reinterpret_cast<std::uint8_t*>(text.data()), text.size()};
  }

  ManualClock clock;
  std::optional<SimulatedBackend> backend;
};

TEST_F(SimulatedBackendTest, carries_bytes_and_their_end) {
  use(SimulatedFaults::none());
  const auto [here, there] = backend->socket_pair();
  std::string text = "to the other side";
  RecordingOp send(OpKind::send, here), recv(OpKind::recv, there), end(OpKind::recv, there);
  send.buffer = bytes_of(text);
  backend->submit(send);
  backend->submit(recv);
  settle({&send, &recv});
  ASSERT_EQ(recv.seen.size(), 1U);
  const std::span<const std::uint8_t> data = recv.seen[0].data;
  EXPECT_EQ(std::string(data.begin(), data.end()), text);
  EXPECT_EQ(backend->buffers_lent(), 1U);
  backend->give_back(recv.seen[0].buffer_id);
  EXPECT_EQ(backend->buffers_lent(), 0U);
  backend->shut_down(here, SHUT_WR);
  backend->submit(end);
  settle({&end});
  ASSERT_EQ(end.seen.size(), 1U);
  EXPECT_EQ(end.seen[0].result, 0);
}

TEST_F(SimulatedBackendTest, resets_the_peer_of_one_that_closes_with_bytes_unread) {
  use(SimulatedFaults::none());
  const auto [here, there] = backend->socket_pair();
  std::string text = "never read";
  RecordingOp send(OpKind::send, here), close(OpKind::close, there), recv(OpKind::recv, here);
  send.buffer = bytes_of(text);
  backend->submit(send);
  settle({&send});
  backend->submit(close);
  settle({&close});
  backend->submit(recv);
  settle({&recv});
  ASSERT_EQ(recv.seen.size(), 1U);
  EXPECT_EQ(recv.seen[0].result, -ECONNRESET);
}

TEST_F(SimulatedBackendTest, parks_recvs_while_every_buffer_is_lent) {
  SimulatedFaults faults = SimulatedFaults::none();
  faults.recv_buffers = 1;
  use(faults);
  const auto [here, there] = backend->socket_pair();
  const auto [one_more, its_peer] = backend->socket_pair();
  std::string text = "x";
  RecordingOp send(OpKind::send, here), send_too(OpKind::send, one_more);
  send.buffer = send_too.buffer = bytes_of(text);
  backend->submit(send);
  backend->submit(send_too);
  settle({&send, &send_too});
  RecordingOp recv(OpKind::recv, there), recv_too(OpKind::recv, its_peer);
  backend->submit(recv);
  backend->submit(recv_too);
  settle({&recv, &recv_too});
  EXPECT_NE(recv.done(), recv_too.done());
  EXPECT_EQ(backend->stats().recvs_parked, 1);
  backend->give_back((recv.done() ? recv : recv_too).seen.at(0).buffer_id);
  settle({&recv, &recv_too});
  EXPECT_TRUE(recv.done() && recv_too.done());
}

TEST_F(SimulatedBackendTest, lets_a_cancelled_recv_win_or_lose_its_race) {
  int won = 0, lost = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SimulatedFaults faults = SimulatedFaults::none();
    faults.race_odds = 2;
    use(faults, seed);
    const auto [here, there] = backend->socket_pair();
    std::string text = "x";
    RecordingOp send(OpKind::send, here), recv(OpKind::recv, there);
    send.buffer = bytes_of(text);
    backend->submit(send);
    settle({&send});
    backend->submit(recv);
    backend->cancel(recv);
    settle({&recv});
    ASSERT_EQ(recv.seen.size(), 1U);
    if (recv.seen[0].result == 1) ++won;
    if (recv.seen[0].result == -ECANCELED) ++lost;
  }
  EXPECT_EQ(won + lost, 100);
  EXPECT_GT(won, 0);
  EXPECT_GT(lost, 0);
}

TEST_F(SimulatedBackendTest, ends_the_run_of_who_closes_under_an_operation) {
  use(SimulatedFaults::none());
  const auto [here, there] = backend->socket_pair();
  RecordingOp recv(OpKind::recv, here), close(OpKind::close, here);
  backend->submit(recv);
  const auto close_at_once = [&] {
    backend->submit(close);
    settle({&close});
  };
  EXPECT_DEATH(close_at_once(), "check failed");
  backend->cancel(recv);
  settle({&recv});
  EXPECT_TRUE(backend->exists(there));
}

TEST_F(SimulatedBackendTest, ends_the_run_of_who_uses_a_closed_descriptor) {
  use(SimulatedFaults::none());
  const auto [here, there] = backend->socket_pair();
  backend->discard(here);
  RecordingOp recv(OpKind::recv, here);
  EXPECT_DEATH(backend->submit(recv), "check failed");
  EXPECT_FALSE(backend->stuck());
  EXPECT_TRUE(backend->exists(there));
}

TEST_F(SimulatedBackendTest, says_when_nothing_can_ever_happen) {
  use(SimulatedFaults::none());
  const auto [here, there] = backend->socket_pair();
  RecordingOp recv(OpKind::recv, here);
  backend->submit(recv);
  std::vector<CompletedOp> out;
  backend->wait(std::nullopt, out);
  EXPECT_TRUE(out.empty() && backend->stuck());
  backend->cancel(recv);
  settle({&recv});
  EXPECT_TRUE(backend->exists(there));
}

}  // namespace
}  // namespace weir::io
