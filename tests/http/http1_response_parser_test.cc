#include "http/http1_response_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace weir::http {
namespace {

struct Outcome {
  Http1ResponseParser::Status status = Http1ResponseParser::Status::need_more;
  int code = 0;
  std::string body;
  std::size_t left = 0;
  bool reusable = false;
};

// Feeds `text` in pieces of `step` bytes.
Outcome parse(std::string_view text, std::size_t step, bool bodiless = false, bool end = false) {
  using Status = Http1ResponseParser::Status;
  Http1ResponseParser parser(bodiless);
  Outcome outcome;
  while (outcome.status != Status::complete && outcome.status != Status::error && !text.empty()) {
    const std::vector<std::uint8_t> piece(text.begin(), text.begin() + std::min(step, text.size()));
    std::span<const std::uint8_t> input = piece;
    do {
      std::span<const std::uint8_t> data;
      outcome.status = parser.feed(input, data);
      outcome.body.append(data.begin(), data.end());
    } while (outcome.status == Status::head || outcome.status == Status::data);
    text.remove_prefix(piece.size() - input.size());
  }
  if (end && outcome.status == Status::need_more) outcome.status = parser.end_of_input();
  outcome.code = parser.status();
  outcome.left = text.size();
  outcome.reusable = parser.reusable();
  return outcome;
}

TEST(Http1ResponseParser, takes_bodies_of_every_framing_in_pieces_of_every_size) {
  struct Row {
    std::string_view text;
    int code;
    std::string_view body;
    bool reusable;
    bool end;
  };
  const std::vector<Row> table{
      {"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", true, false},
      {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "", true, false},
      {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200,
       "abcde", true, false},
      {"HTTP/1.0 200 OK\r\n\r\nto the end", 200, "to the end", false, true},
      {"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", 200, "ok", false,
       false},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, "", true, false},
      {"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n", 304, "", true, false},
  };
  for (const Row& row : table) {
    for (std::size_t step = 1; step <= row.text.size(); ++step) {
      const Outcome outcome = parse(row.text, step, false, row.end);
      ASSERT_EQ(outcome.status, Http1ResponseParser::Status::complete)
          << row.text << " by " << step;
      EXPECT_EQ(outcome.code, row.code);
      EXPECT_EQ(outcome.body, row.body);
      EXPECT_EQ(outcome.left, 0U);
      EXPECT_EQ(outcome.reusable, row.reusable) << row.text;
    }
  }
}

TEST(Http1ResponseParser, expects_no_body_after_head) {
  const Outcome outcome = parse("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 100, true);
  EXPECT_EQ(outcome.status, Http1ResponseParser::Status::complete);
  EXPECT_TRUE(outcome.reusable);
}

TEST(Http1ResponseParser, leaves_what_follows_a_response) {
  EXPECT_EQ(parse("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP", 100).left, 4U);
}

TEST(Http1ResponseParser, refuses) {
  const std::vector<std::string> table{
      "HTTP/2 200 OK\r\n\r\n",
      "HTTP/1.2 200 OK\r\n\r\n",
      "http/1.1 200 OK\r\n\r\n",
      "HTTP/1.1  200 OK\r\n\r\n",
      "HTTP/1.1 20 OK\r\n\r\n",
      "HTTP/1.1 2000 OK\r\n\r\n",
      "HTTP/1.1 099 OK\r\n\r\n",
      "HTTP/1.1 600 OK\r\n\r\n",
      "HTTP/1.1 101 Switching\r\n\r\n",
      "HTTP/1.1 2x0 OK\r\n\r\n",
      std::string("HTTP/1.1 200 O\0K\r\n\r\n", 20),
      "\r\nHTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 200 OK\n\n",
      "HTTP/1.1 200 OK\r\nx: y\n\r\n",
      "HTTP/1.1 200 OK\r\nx y\r\n\r\n",
      "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
      "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
      "HTTP/1.1 200 OK\r\n folded\r\n\r\n",
      "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n",
      "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 9999999999999999999\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
      "HTTP/1.1 100 Continue\r\ncontent-length: 1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nx: " + std::string(kResponseHeadBytesMax, 'y'),
      "HTTP/1.1 200 " + std::string(kResponseHeadBytesMax, 'y'),
  };
  for (const std::string& text : table) {
    EXPECT_EQ(parse(text, text.size()).status, Http1ResponseParser::Status::error)
        << text.substr(0, 80);
    EXPECT_EQ(parse(text, 7).status, Http1ResponseParser::Status::error) << text.substr(0, 80);
  }
}

TEST(Http1ResponseParser, tells_a_cut_response_from_a_complete_one) {
  const std::vector<std::string> table{
      "HTTP/1.1 200",
      "HTTP/1.1 200 OK\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
  };
  for (const std::string& text : table) {
    EXPECT_EQ(parse(text, 5, false, true).status, Http1ResponseParser::Status::error) << text;
  }
}

}  // namespace
}  // namespace weir::http
