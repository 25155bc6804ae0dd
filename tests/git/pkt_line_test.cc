#include "git/pkt_line.h"

#include <gtest/gtest.h>

namespace weir::git {
namespace {

TEST(PktLine, reads_data_and_special_packets) {
  Pkt pkt;
  ASSERT_EQ(read_pkt("0009done\nrest", pkt), PktStatus::complete);
  EXPECT_EQ(pkt.kind, PktKind::data);
  EXPECT_EQ(pkt_text(pkt), "done");
  EXPECT_EQ(pkt.bytes, 9U);
  ASSERT_EQ(read_pkt("0000", pkt), PktStatus::complete);
  EXPECT_EQ(pkt.kind, PktKind::flush);
  ASSERT_EQ(read_pkt("0001", pkt), PktStatus::complete);
  EXPECT_EQ(pkt.kind, PktKind::delim);
  ASSERT_EQ(read_pkt("0002", pkt), PktStatus::complete);
  EXPECT_EQ(pkt.kind, PktKind::response_end);
  ASSERT_EQ(read_pkt("0004", pkt), PktStatus::complete);
  EXPECT_EQ(pkt.payload, "");
}

TEST(PktLine, waits_for_the_rest_of_a_packet) {
  Pkt pkt;
  for (const char* part : {"", "0", "00", "000", "0009", "0009done"}) {
    EXPECT_EQ(read_pkt(part, pkt), PktStatus::need_more) << part;
  }
}

TEST(PktLine, refuses_every_wrong_length) {
  Pkt pkt;
  for (const char* bad :
       {"0003", "fff1", "ffff", "-001", "+009", "0x09", "00g0", "    ", "000\n", "GET ", "PACK"}) {
    EXPECT_EQ(read_pkt(bad, pkt), PktStatus::malformed) << bad;
  }
}

TEST(PktLine, accepts_the_largest_packet) {
  std::string bytes;
  append_pkt(bytes, std::string(kPktPayloadBytesMax, 'x'));
  Pkt pkt;
  ASSERT_EQ(read_pkt(bytes, pkt), PktStatus::complete);
  EXPECT_EQ(pkt.bytes, bytes.size());
  EXPECT_EQ(bytes.substr(0, 4), "fff0");
}

TEST(Sideband, splits_long_payloads_into_full_packets) {
  std::string bytes;
  append_sideband(bytes, Band::progress, std::string(100'000, 'y'));
  Pkt pkt;
  ASSERT_EQ(read_pkt(bytes, pkt), PktStatus::complete);
  EXPECT_EQ(pkt.payload.size(), kPktPayloadBytesMax);
  EXPECT_EQ(pkt.payload[0], '\x02');
  ASSERT_EQ(read_pkt(std::string_view(bytes).substr(pkt.bytes), pkt), PktStatus::complete);
  EXPECT_EQ(pkt.payload.size(), 100'000 - (kPktPayloadBytesMax - 1) + 1);
}

}  // namespace
}  // namespace weir::git
