#include "git/planner_channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>

#include "io/memory_file.h"

namespace weir::git {
namespace {

constexpr std::uint64_t kBytesMax = 1024UL * 1024;

class PlannerChannelTest : public testing::Test {
 protected:
  void send(std::string_view bytes, std::vector<int> descriptors) {
    const auto* const data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    ASSERT_TRUE(io::send_message(ends_[0].get(), {data, bytes.size()}, descriptors).has_value());
  }
  io::Result<ReceivedPacket> receive() {
    std::vector<std::uint8_t> buffer(kPlannerPacketBytesMax);
    return receive_packet(ends_[1].get(), buffer, kBytesMax);
  }
  std::array<io::UniqueFd, 2> ends_ = *io::make_message_socket_pair();
};

TEST_F(PlannerChannelTest, carries_short_and_long_bodies_with_their_descriptors) {
  const std::array<int, 2> two = {0, 1};
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, kPlannerPacketBytesMax - 1,
                                  kPlannerPacketBytesMax, std::size_t{kBytesMax}}) {
    const std::string body(bytes, 'x');
    const auto packet = make_packet(body, two);
    ASSERT_TRUE(packet);
    ASSERT_TRUE(send_packet(ends_[0].get(), *packet).has_value());
    auto received = receive();
    ASSERT_TRUE(received) << bytes;
    EXPECT_EQ(received->descriptors.size(), 2U);
    EXPECT_EQ(received->file.valid(), bytes >= kPlannerPacketBytesMax);
    EXPECT_EQ(received->take_body(kBytesMax).value_or("failed"), body);
  }
}

TEST_F(PlannerChannelTest, tells_nothing_yet_from_the_end) {
  EXPECT_EQ(receive().error().code, io::Errc::limit);
  ends_[0].reset();
  EXPECT_EQ(receive().error().code, io::Errc::closed);
}

TEST_F(PlannerChannelTest, refuses_what_is_no_packet) {
  const io::UniqueFd unsealed(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const io::UniqueFd half_sealed(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(fcntl(half_sealed.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE), 0);
  const io::UniqueFd long_one(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(long_one.get(), kBytesMax + 1), 0);
  ASSERT_EQ(fcntl(long_one.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SHRINK), 0);
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  const io::UniqueFd read_end(pipe_ends[0]), write_end(pipe_ends[1]);
  const auto sealed = io::make_sealed_memory_file("x", "body");
  ASSERT_TRUE(sealed);
  const std::string in_file(1, '\1');
  const std::pair<std::string, std::vector<int>> packets[] = {
      {"\2body", {}},
      {in_file, {}},
      {in_file + "more", {sealed->get()}},
      {in_file, {unsealed.get()}},
      {in_file, {half_sealed.get()}},
      {in_file, {long_one.get()}},
      {in_file, {read_end.get()}},
      {in_file, {sealed->get(), 0}},
  };
  for (const auto& [bytes, descriptors] : packets) {
    send(bytes, descriptors);
    const auto received = receive();
    ASSERT_FALSE(received) << &bytes - &packets[0].first;
    EXPECT_EQ(received.error().code, io::Errc::protocol);
  }
  send(in_file, {sealed->get()});
  EXPECT_TRUE(receive().has_value());
}

}  // namespace
}  // namespace weir::git
