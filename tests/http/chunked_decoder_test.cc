#include "http/chunked_decoder.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace weir::http {
namespace {

struct Outcome {
  std::string body;
  std::string reason;
  bool complete = false;
  std::string rest;
  bool operator==(const Outcome&) const = default;
};

Outcome decode(const std::vector<std::string_view>& pieces,
               std::size_t data_bytes_max = std::numeric_limits<std::size_t>::max()) {
  ChunkedDecoder decoder;
  Outcome outcome;
  for (const std::string_view piece : pieces) {
    if (outcome.complete) {
      outcome.rest += piece;
      continue;
    }
    const std::vector<std::uint8_t> copy(piece.begin(), piece.end());
    std::span<const std::uint8_t> input = copy;
    std::span<const std::uint8_t> data;
    ChunkedDecoder::Status status = ChunkedDecoder::Status::data;
    while (status == ChunkedDecoder::Status::data) {
      status = decoder.decode(input, data_bytes_max, data);
      outcome.body.append(reinterpret_cast<const char*>(data.data()), data.size());
    }
    if (status == ChunkedDecoder::Status::error) {
      outcome.reason = decoder.reason();
      outcome.body.clear();  // how much came before depends on the cuts
      return outcome;
    }
    outcome.complete = status == ChunkedDecoder::Status::complete;
    outcome.rest.append(reinterpret_cast<const char*>(input.data()), input.size());
  }
  return outcome;
}

struct Accepted {
  std::string coded;
  std::string body;
  std::string rest;
};

const std::vector<Accepted>& accepted() {
  static const std::vector<Accepted> kAccepted = {
      {"0\r\n\r\n", "", ""},
      {"5\r\nhello\r\n0\r\n\r\n", "hello", ""},
      {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", "hello world", "GET /"},
      {"A\r\n0123456789\r\n000\r\n\r\n", "0123456789", ""},
      {"00000000000000a\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""},
      {"1;name=\"value\";x\r\na\r\n0;last\r\n\r\n", "a", ""},
      {"1\r\n\n\r\n0\r\nTrailer-Name: value\r\nX:\r\n\r\n", "\n", ""},
  };
  return kAccepted;
}

const std::vector<std::pair<std::string, std::string>>& refused() {
  using std::string_literals::operator""s;
  static const std::vector<std::pair<std::string, std::string>> kRefused = {
      {"\r\n", "no size"},
      {"g\r\n", "no size"},
      {"-1\r\n", "no size"},
      {"+1\r\na\r\n", "no size"},
      {" 1\r\na\r\n", "no size"},
      {";x\r\n", "no size"},
      {"0x1\r\na\r\n", "malformed"},
      {"1 \r\na\r\n", "malformed"},
      {"1 ;x\r\na\r\n", "malformed"},
      {"1\na\r\n", "malformed"},
      {"1\0\r\n"s, "malformed"},
      {"0000000000000001\r\na\r\n", "too long"},
      {"ffffffffffffffff\r\n", "too long"},
      {"1\rx", "size line"},
      {"1;a\nb\r\n", "control"},
      {"1;\x01\r\n", "control"},
      {"1;" + std::string(kChunkExtensionBytesMax, 'x') + "\r\na\r\n", "extensions"},
      {"1\r\nab\r\n", "chunk does not end"},
      {"1\r\na\n", "chunk does not end"},
      {"1\r\na\r1", "chunk does not end"},
      {"1\r\na\r\n\r\n", "no size"},
      {"0\r\n\n", "trailer"},
      {"0\r\n: x\r\n\r\n", "trailer"},
      {"0\r\nA B: x\r\n\r\n", "trailer"},
      {"0\r\nA : x\r\n\r\n", "trailer"},
      {"0\r\n folded\r\n\r\n", "trailer"},
      {"0\r\nA: x\r\n folded\r\n\r\n", "trailer"},
      {"0\r\nA\r\n\r\n", "trailer"},
      {"0\r\nA: x\n\r\n", "control"},
      {"0\r\nA: \x02\r\n\r\n", "control"},
      {"0\r\nA: x\r!", "trailer line"},
      {"0\r\n\r!", "CR LF"},
      {"0\r\nA: " + std::string(kTrailerBytesMax, 'x') + "\r\n\r\n", "trailers"},
  };
  return kRefused;
}

TEST(ChunkedDecoder, decodes_well_formed_bodies) {
  for (const Accepted& example : accepted()) {
    const Outcome expected{example.body, "", true, example.rest};
    EXPECT_EQ(decode({example.coded}), expected) << example.coded;
    EXPECT_EQ(decode({example.coded}, 1), expected) << example.coded;
  }
}

TEST(ChunkedDecoder, refuses_malformed_bodies) {
  EXPECT_GT(refused().size(), accepted().size());
  for (const auto& [coded, reason] : refused()) {
    const Outcome outcome = decode({coded});
    EXPECT_TRUE(outcome.reason.contains(reason)) << coded << " -> " << outcome.reason;
    EXPECT_FALSE(outcome.complete);
  }
}

TEST(ChunkedDecoder, ends_the_same_wherever_reads_cut_the_bytes) {
  std::vector<std::string> all;
  for (const Accepted& example : accepted()) all.push_back(example.coded);
  for (const auto& [coded, reason] : refused()) all.push_back(coded);
  for (const std::string& coded : all) {
    const Outcome whole = decode({coded});
    for (std::size_t at = 0; at <= coded.size(); ++at) {
      const std::string_view text = coded;
      EXPECT_EQ(decode({text.substr(0, at), text.substr(at)}), whole) << coded << " at " << at;
    }
  }
}

TEST(ChunkedDecoder, counts_extensions_over_the_whole_body) {
  std::string coded;
  for (int i = 0; i < 300; ++i) coded += "1;\r\na\r\n";
  EXPECT_EQ(decode({coded}).reason, "the chunk extensions are too long");
}

}  // namespace
}  // namespace weir::http
