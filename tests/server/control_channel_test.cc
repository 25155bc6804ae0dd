#include "server/control_channel.h"

#include <gtest/gtest.h>

#include "io/descriptor_passing.h"
#include "tests/io/test_loop.h"

namespace weir::server {
namespace {

class ControlChannelTest : public testing::Test {
 protected:
  ControlChannelTest() {
    auto ends = io::make_message_socket_pair();
    supervisor = std::move((*ends)[0]);
    serving = std::move((*ends)[1]);
  }
  io::Result<ControlMessage> next() { return test.run(channel().next({})); }
  ControlChannel& channel() {
    if (!channel_) channel_.emplace(serving.get());
    return *channel_;
  }

  io::TestLoop test;
  io::UniqueFd supervisor, serving;

 private:
  std::optional<ControlChannel> channel_;
};

TEST_F(ControlChannelTest, messages_arrive_in_order_with_their_descriptors) {
  EXPECT_FALSE(channel().receive().has_value());
  ASSERT_TRUE(send_control(supervisor.get(), ControlKind::reload));
  ASSERT_TRUE(send_control(supervisor.get(), ControlKind::launcher_sockets, {0, 1, 2}));
  ASSERT_TRUE(send_control(supervisor.get(), ControlKind::drain));
  EXPECT_EQ(next()->kind, ControlKind::reload);
  const io::Result<ControlMessage> sockets = next();
  EXPECT_EQ(sockets->kind, ControlKind::launcher_sockets);
  EXPECT_EQ(sockets->descriptors.size(), 3U);
  for (const int fd : sockets->descriptors) EXPECT_EQ(::close(fd), 0);
  EXPECT_EQ(next()->kind, ControlKind::drain);
}

TEST_F(ControlChannelTest, what_makes_no_sense_is_skipped) {
  const std::uint8_t unknown[] = {200};
  const std::uint8_t forged_end[] = {static_cast<std::uint8_t>(ControlKind::supervisor_gone)};
  const std::vector<std::uint8_t> long_one(1000, 0);
  ASSERT_TRUE(io::send_message(supervisor.get(), unknown, {}).has_value());
  ASSERT_TRUE(io::send_message(supervisor.get(), forged_end, {}).has_value());
  ASSERT_TRUE(io::send_message(supervisor.get(), long_one, {}).has_value());
  ASSERT_TRUE(send_control(supervisor.get(), ControlKind::stop));
  EXPECT_EQ(next()->kind, ControlKind::stop);
}

TEST_F(ControlChannelTest, the_supervisors_end_is_told_once_and_then_only_a_stop_ends_the_wait) {
  supervisor.reset();
  EXPECT_EQ(next()->kind, ControlKind::supervisor_gone);
  EXPECT_FALSE(channel().receive().has_value());
  io::StopSource stop;
  io::TaskScope scope;
  const auto wait = [](ControlChannel& control, io::StopToken token,
                       io::Errc& code) -> io::Task<void> {
    const io::Result<ControlMessage> got = co_await control.next(token);
    code = got ? io::Errc::invalid : got.error().code;
  };
  io::Errc code = io::Errc::invalid;
  scope.spawn(wait(channel(), io::StopToken(stop), code));
  test.run_turns(3);
  EXPECT_EQ(scope.running(), 1);
  stop.request_stop();
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(code, io::Errc::cancelled);
}

}  // namespace
}  // namespace weir::server
