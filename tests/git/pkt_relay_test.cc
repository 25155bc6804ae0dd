#include "git/pkt_relay.h"

#include <gtest/gtest.h>

#include "tests/git/pkt_text.h"

namespace weir::git {
namespace {

using std::string_literals::operator""s;

std::string v2_answer() {
  return pkts({"acknowledgments\n", "ACK x\n", "ready\n", "0001", "packfile\n", "\x02progress\n",
               "\x01PACK....", "0000"});
}

TEST(PktRelay, holds_back_the_last_flush_whatever_the_pieces) {
  const std::string answer = v2_answer();
  for (std::size_t piece = 1; piece <= answer.size(); ++piece) {
    PktRelay relay(RelayKind::v2);
    std::string held;
    std::string sent;
    for (std::size_t at = 0; at < answer.size(); at += piece) {
      const std::string part = answer.substr(at, piece);
      ASSERT_TRUE(relay.follow(part));
      held += part;
      const std::size_t keep = relay.held_bytes();
      ASSERT_LE(keep, held.size());
      sent += held.substr(0, held.size() - keep);
      held.erase(0, held.size() - keep);
    }
    EXPECT_EQ(held, "0000") << piece;
    EXPECT_EQ(sent + held, answer);
    EXPECT_TRUE(relay.complete() && relay.in_pack() && relay.keepalive_allowed());
  }
}

TEST(PktRelay, allows_keepalives_only_between_packets_of_the_pack) {
  PktRelay relay(RelayKind::v2);
  ASSERT_TRUE(relay.follow(pkts({"acknowledgments\n", "ready\n"})));
  EXPECT_FALSE(relay.keepalive_allowed());
  ASSERT_TRUE(relay.follow("0001"));
  EXPECT_FALSE(relay.keepalive_allowed());
  ASSERT_TRUE(relay.follow(pkts({"packfile\n"})));
  EXPECT_TRUE(relay.keepalive_allowed());
  ASSERT_TRUE(relay.follow("0009\x01"s));
  EXPECT_FALSE(relay.keepalive_allowed());
  ASSERT_TRUE(relay.follow("PACK"));
  EXPECT_TRUE(relay.keepalive_allowed());
  ASSERT_TRUE(relay.follow("00"));
  EXPECT_EQ(relay.held_bytes(), 2U);  // less these, it is a boundary
  EXPECT_TRUE(relay.keepalive_allowed());
}

TEST(PktRelay, is_not_misled_by_packets_that_look_like_the_pack) {
  for (const char* line :
       {"packfile", "packfile\n\n", "packfil\n", "\x01packfile\n", "wanted-refs\n"}) {
    PktRelay relay(RelayKind::v2);
    ASSERT_TRUE(relay.follow(pkts({line})));
    EXPECT_FALSE(relay.in_pack()) << line;
  }
}

TEST(PktRelay, follows_v0_with_sideband) {
  PktRelay relay(RelayKind::v0_sideband);
  ASSERT_TRUE(relay.follow(pkts({"shallow " + kIdA, "0000"})));
  EXPECT_EQ(relay.held_bytes(), 4U);
  EXPECT_FALSE(relay.in_pack());
  ASSERT_TRUE(relay.follow(pkts({"NAK\n"})));
  EXPECT_EQ(relay.held_bytes(), 0U);
  EXPECT_FALSE(relay.in_pack());
  ASSERT_TRUE(
      relay.follow(pkts({"\x02"
                         "Counting"})));
  EXPECT_TRUE(relay.keepalive_allowed());
}

TEST(PktRelay, lets_a_plain_pack_of_v0_through) {
  PktRelay relay(RelayKind::v0_plain);
  ASSERT_TRUE(relay.follow(pkts({"NAK\n"}) + "PACK\0\0\0\2zzzz0000"s));
  EXPECT_TRUE(relay.in_pack());
  EXPECT_FALSE(relay.keepalive_allowed());
  EXPECT_EQ(relay.held_bytes(), 0U);
  EXPECT_TRUE(relay.complete());
}

TEST(PktRelay, notices_a_refusal_of_the_child) {
  PktRelay relay(RelayKind::v2);
  ASSERT_TRUE(relay.follow(pkts({"ERR upload-pack: not our ref " + kIdA})));
  EXPECT_TRUE(relay.saw_error() && relay.complete());
}

TEST(PktRelay, knows_an_incomplete_packet) {
  PktRelay relay(RelayKind::v2);
  ASSERT_TRUE(relay.follow("0009\x01PA"s));
  EXPECT_FALSE(relay.complete());
  EXPECT_FALSE(relay.at_boundary());
}

TEST(PktRelay, refuses_what_is_no_packet) {
  for (const std::string& bytes : {"0003"s, "fatal: bad object"s, "PACK"s, "fff1"s,
                                   "\x01\x02\x03\x04"s, pkts({"packfile\n"}) + "PACK"}) {
    PktRelay relay(RelayKind::v2);
    EXPECT_FALSE(relay.follow(bytes)) << bytes;
  }
}

}  // namespace
}  // namespace weir::git
