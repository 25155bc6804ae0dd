#include "http/gzip_inflater.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <string>
#include <vector>

namespace weir::http {
namespace {

std::string gzip(std::string_view text, int window_bits = 16 + MAX_WBITS) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

io::Result<std::string> inflate_all(std::string_view coded, std::uint64_t bytes_max,
                                    std::size_t piece_bytes, std::size_t out_bytes) {
  GzipInflater inflater(bytes_max);
  std::string text;
  std::vector<std::uint8_t> out(out_bytes);
  while (!coded.empty()) {
    const std::string_view piece = coded.substr(0, piece_bytes);
    coded.remove_prefix(piece.size());
    const std::vector<std::uint8_t> copy(piece.begin(), piece.end());
    std::span<const std::uint8_t> input = copy;
    std::size_t made = 0;
    do {
      const io::Result<std::size_t> result = inflater.inflate(input, out);
      if (!result) return std::unexpected(result.error());
      made = *result;
      text.append(reinterpret_cast<const char*>(out.data()), made);
    } while (!input.empty() || made == out.size());
  }
  const io::Result<void> finished = inflater.finish();
  if (!finished) return std::unexpected(finished.error());
  return text;
}

io::Errc error_of(std::string_view coded, std::uint64_t bytes_max = 1 << 30) {
  const auto result = inflate_all(coded, bytes_max, coded.size(), 4096);
  EXPECT_FALSE(result.has_value());
  return result ? io::Errc::invalid : result.error().code;
}

TEST(GzipInflater, restores_the_body_however_it_is_cut) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "0032have " + std::to_string(i * 7919) + "\n";
  const std::string coded = gzip(text);
  for (const std::size_t piece : {1UZ, 7UZ, 1000UZ, coded.size()}) {
    for (const std::size_t out : {1UZ, 13UZ, 16384UZ}) {
      const auto result = inflate_all(coded, 1 << 20, piece, out);
      ASSERT_TRUE(result.has_value());
      EXPECT_EQ(*result, text);
    }
  }
}

TEST(GzipInflater, restores_an_empty_body) {
  const auto result = inflate_all(gzip(""), 0, 100, 100);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(*result, "");
}

TEST(GzipInflater, refuses_a_bomb_by_ratio) {
  const std::string bomb = gzip(std::string(64 << 20, '\0'));
  ASSERT_LT(bomb.size(), 128U * 1024);
  EXPECT_EQ(error_of(bomb), io::Errc::limit);
}

TEST(GzipInflater, stops_a_bomb_soon_after_the_grace) {
  const std::string bomb = gzip(std::string(64 << 20, '\0'));
  GzipInflater inflater(1 << 30);
  std::vector<std::uint8_t> out(64 * 1024);
  std::span<const std::uint8_t> input{reinterpret_cast<const std::uint8_t*>(bomb.data()),
                                      bomb.size()};
  while (inflater.inflate(input, out)) {
  }
  // The engine reads ahead of what it writes, so the ratio bites within a few hundred reads' worth.
  EXPECT_LE(inflater.inflated_bytes(), bomb.size() * kGzipRatioMax + out.size());
}

TEST(GzipInflater, lets_small_bodies_inflate_well_within_the_grace) {
  const auto result = inflate_all(gzip(std::string(kGzipGraceBytes, 'a')), 1 << 30, 100, 4096);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->size(), kGzipGraceBytes);
}

TEST(GzipInflater, refuses_more_than_its_limit) {
  EXPECT_EQ(error_of(gzip(std::string(1001, 'a')), 1000), io::Errc::limit);
  EXPECT_TRUE(inflate_all(gzip(std::string(1000, 'a')), 1000, 100, 100).has_value());
}

TEST(GzipInflater, refuses_what_is_not_exactly_one_whole_gzip_member) {
  const std::string good = gzip("hello hello hello");
  const std::string zlib_format = gzip("hello", MAX_WBITS);
  const std::string raw = gzip("hello", -MAX_WBITS);
  std::string bad_checksum = good;
  bad_checksum[good.size() - 8] = static_cast<char>(bad_checksum[good.size() - 8] ^ 1);
  std::string bad_length = good;
  bad_length.back() = static_cast<char>(bad_length.back() ^ 1);
  std::string bad_magic = good;
  bad_magic[0] = 'x';
  for (const std::string& coded :
       {good + "x", good + good, good + std::string(1, '\0'), zlib_format, raw, bad_checksum,
        bad_length, bad_magic, std::string("plain text"), good.substr(0, good.size() - 1),
        good.substr(0, 10), good.substr(0, 1)}) {
    EXPECT_EQ(error_of(coded), io::Errc::corrupt);
  }
  EXPECT_EQ(inflate_all("", 1000, 1, 100).error().code, io::Errc::corrupt);
}

TEST(GzipInflater, knows_the_names_of_its_coding) {
  EXPECT_TRUE(is_gzip_coding("gzip"));
  EXPECT_TRUE(is_gzip_coding("X-GZip"));
  EXPECT_FALSE(is_gzip_coding("deflate"));
  EXPECT_FALSE(is_gzip_coding("gzip, gzip"));
  EXPECT_FALSE(is_gzip_coding(""));
}

}  // namespace
}  // namespace weir::http
