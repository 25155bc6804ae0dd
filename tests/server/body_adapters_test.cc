#include "server/body_adapters.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>

#include "tests/io/test_loop.h"

namespace weir::server {
namespace {

// An exchange whose session is the test: bodies are given, output is taken at once.
class FakeExchange final : public http::Exchange {
 public:
  void give(std::string_view text) {
    while (!text.empty()) {
      const std::string_view piece = text.substr(0, body_room());
      if (piece.empty()) return void(unsent_ = text);
      deliver_body(io::as_bytes(piece));
      text.remove_prefix(piece.size());
    }
    if (ends_) deliver_body_end();
  }
  void end_after() { ends_ = true; }
  void fail(io::Errc reason) { fail_body(reason); }
  void leave() { client_gone(); }

  std::string taken;
  int heads = 0;
  int status() const { return response_.status; }
  std::optional<std::uint64_t> content_length() const { return response_.content_length; }

 private:
  void on_body_wanted() override { give(std::exchange(unsent_, {})); }
  void on_output_ready() override {
    if (response_started_ && heads == 0) ++heads;
    taken += io::as_text(output());
    take_output(output().size());
  }
  void on_abort() override {}
  void on_released() override {}
  void on_continue_wanted() override {}

  std::string_view unsent_;
  bool ends_ = false;
};

std::string gzip(std::string_view text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
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

// As have lines of a negotiation look.
std::string object_ids(std::size_t count) {
  std::mt19937_64 random(7);
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    char line[51];
    std::snprintf(line, sizeof line, "0032have %016lx%016lx%08lx\n", random(), random(),
                  random() & 0xffffffffUL);
    text += line;
  }
  return text;
}

class BodyAdaptersTest : public testing::Test {
 protected:
  struct Read {
    std::string text;
    std::optional<io::Error> error;
  };
  static io::Task<Read> read_all(RequestBody& body) {
    Read read;
    for (;;) {
      const io::Result<std::span<const std::uint8_t>> bytes = co_await body.read();
      if (!bytes) {
        read.error = bytes.error();
        co_return read;
      }
      if (bytes->empty()) co_return read;
      read.text += io::as_text(*bytes);
    }
  }
  Read read(std::string_view sent, bool gzipped, std::uint64_t bytes_max = 1 << 30) {
    FakeExchange exchange;
    exchange.end_after();
    exchange.give(sent);
    RequestBody body(exchange, live, gzipped, bytes_max);
    Read result = test.run(read_all(body));
    EXPECT_EQ(body.error().has_value(), result.error.has_value());
    return result;
  }
  io::Errc error_of(std::string_view sent, bool gzipped, std::uint64_t bytes_max = 1 << 30) {
    const Read result = read(sent, gzipped, bytes_max);
    EXPECT_TRUE(result.error.has_value());
    return result.error ? result.error->code : io::Errc::system;
  }

  io::TestLoop test;
  LiveRequest live;
};

TEST_F(BodyAdaptersTest, a_plain_body_passes_as_it_is) {
  const std::string text = object_ids(20'000);
  const Read result = read(text, false);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(result.text, text);
  EXPECT_EQ(live.bytes_in.load(), text.size());
}

TEST_F(BodyAdaptersTest, a_gzip_body_of_any_size_is_inflated_whole) {
  for (const std::size_t count : {0U, 1U, 1310U, 1311U, 20'000U}) {
    const std::string text = object_ids(count);
    const Read result = read(gzip(text), true);
    EXPECT_FALSE(result.error) << count;
    EXPECT_EQ(result.text, text) << count;
  }
  // Sizes around a step of inflation: the last input may leave output behind.
  for (std::size_t bytes = 64 * 1024 - 300; bytes <= 64 * 1024 + 300; ++bytes) {
    const std::string text(bytes, 'x');
    const Read result = read(gzip(text), true);
    ASSERT_FALSE(result.error) << bytes;
    ASSERT_EQ(result.text.size(), bytes);
  }
}

TEST_F(BodyAdaptersTest, a_large_gzip_body_is_inflated_a_little_each_turn) {
  const std::string text = object_ids(20'000);
  const std::string sent = gzip(text);
  const std::uint64_t before = test.loop.stats().turns;
  EXPECT_EQ(read(sent, true).text.size(), text.size());
  EXPECT_GE(test.loop.stats().turns - before, text.size() / (32 * 1024));
}

TEST_F(BodyAdaptersTest, the_limit_counts_inflated_bytes) {
  const std::string text = object_ids(1000);
  EXPECT_FALSE(read(text, false, text.size()).error);
  EXPECT_FALSE(read(gzip(text), true, text.size()).error);
  EXPECT_EQ(error_of(text, false, text.size() - 1), io::Errc::limit);
  EXPECT_EQ(error_of(gzip(text), true, text.size() - 1), io::Errc::limit);
  EXPECT_EQ(error_of(gzip(std::string(100'000'000, '\0')), true), io::Errc::limit);  // a bomb
}

TEST_F(BodyAdaptersTest, damaged_gzip_is_the_clients_mistake) {
  const std::string whole = gzip(object_ids(100));
  std::string flipped = whole;
  flipped[whole.size() / 2] = static_cast<char>(flipped[whole.size() / 2] ^ 0x55);
  for (const std::string& sent : {std::string("plain text"), whole.substr(0, whole.size() - 1),
                                  whole.substr(0, 5), std::string(), whole + "x", flipped}) {
    EXPECT_EQ(error_of(sent, true), io::Errc::protocol) << sent.size();
  }
}

TEST_F(BodyAdaptersTest, errors_of_the_connection_come_through) {
  for (const bool gzipped : {false, true}) {
    FakeExchange exchange;
    exchange.give(gzipped ? gzip("half").substr(0, 8) : "half");
    exchange.fail(io::Errc::deadline_exceeded);
    RequestBody body(exchange, live, gzipped, 1000);
    const Read result = test.run(read_all(body));
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->code, io::Errc::deadline_exceeded);
    EXPECT_EQ(body.error()->code, io::Errc::deadline_exceeded);
  }
}

TEST_F(BodyAdaptersTest, the_head_is_committed_with_the_first_byte) {
  FakeExchange exchange;
  http::ResponseHead head;
  head.status = 200;
  ResponseBody body(exchange, live, std::move(head), {});
  EXPECT_FALSE(body.committed());
  EXPECT_EQ(exchange.heads, 0);
  EXPECT_TRUE(test.run(body.write(io::as_bytes(std::string_view("one")))));
  EXPECT_TRUE(body.committed());
  EXPECT_TRUE(test.run(body.write(io::as_bytes(std::string_view(" two")))));
  EXPECT_EQ(exchange.taken, "one two");
  EXPECT_EQ(exchange.heads, 1);
  EXPECT_EQ(exchange.content_length(), std::nullopt);
  EXPECT_EQ(live.bytes_out.load(), 7U);
}

TEST_F(BodyAdaptersTest, an_answer_that_was_announced_has_its_length_in_the_head) {
  FakeExchange exchange;
  ResponseBody body(exchange, live, {}, {});
  body.announce(7);
  EXPECT_TRUE(test.run(body.write(io::as_bytes(std::string_view("one two")))));
  EXPECT_EQ(exchange.content_length(), 7U);
}

TEST_F(BodyAdaptersTest, an_answer_without_a_body_says_so) {
  FakeExchange exchange;
  ResponseBody body(exchange, live, {}, {});
  body.commit_empty();
  exchange.finish();
  EXPECT_TRUE(body.committed());
  EXPECT_EQ(exchange.content_length(), 0U);
}

TEST_F(BodyAdaptersTest, writing_to_a_client_that_left_fails) {
  FakeExchange exchange;
  ResponseBody body(exchange, live, {}, {});
  exchange.leave();
  const io::Result<void> written = test.run(body.write(io::as_bytes(std::string_view("x"))));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, io::Errc::closed);
  EXPECT_EQ(live.bytes_out.load(), 0U);
}

}  // namespace
}  // namespace weir::server
