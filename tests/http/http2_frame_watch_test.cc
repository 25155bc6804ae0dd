// Http2FrameWatch: tells each frame once, however the bytes are cut.

#include "http/http2_frame_watch.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::http {
namespace {

std::string frame(std::uint8_t type, std::uint32_t stream, std::size_t payload_bytes) {
  std::string bytes;
  for (const int shift : {16, 8, 0}) bytes += static_cast<char>(payload_bytes >> shift);
  bytes += static_cast<char>(type);
  bytes += '\0';
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(stream >> shift);
  return bytes + std::string(payload_bytes, '\xff');
}

TEST(Http2FrameWatch, tells_each_frame_once_however_the_bytes_are_cut) {
  const std::string bytes = std::string(24, 'P') + frame(4, 0, 0) + frame(1, 0x80000001, 300) +
                            frame(0, 1, 70'000) + frame(6, 0, 8);
  const std::vector<std::pair<int, int>> expected{{4, 0}, {1, 1}, {0, 1}, {6, 0}};
  for (const std::size_t cut : {1UL, 2UL, 8UL, 9UL, 10UL, 33UL, 1000UL, bytes.size()}) {
    Http2FrameWatch watch;
    std::vector<std::pair<int, int>> told;
    std::size_t given = 0;
    for (std::size_t at = 0; at < bytes.size(); at += cut) {
      const std::string part = bytes.substr(at, cut);
      std::span<const std::uint8_t> rest(reinterpret_cast<const std::uint8_t*>(part.data()),
                                         part.size());
      while (!rest.empty()) {
        const Http2FrameWatch::Piece piece = watch.next(rest);
        ASSERT_GT(piece.bytes, 0U);
        if (piece.begins) told.emplace_back(piece.type, piece.stream);
        given += piece.bytes;
        rest = rest.subspan(piece.bytes);
      }
    }
    EXPECT_EQ(told, expected) << cut;
    EXPECT_EQ(given, bytes.size()) << cut;
  }
}

TEST(Http2FrameWatch, remembers_the_latest_resets) {
  Http2FrameWatch watch;
  for (std::int32_t id = 1; id <= 2 * 300; id += 2) watch.reset_sent(id);
  EXPECT_FALSE(watch.was_reset(1));
  EXPECT_TRUE(watch.was_reset(599 - 2 * 255));
  EXPECT_FALSE(watch.was_reset(599 - 2 * 256));
  EXPECT_TRUE(watch.was_reset(599));
  EXPECT_FALSE(watch.was_reset(601));
}

}  // namespace
}  // namespace weir::http
