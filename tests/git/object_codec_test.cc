#include "git/object_codec.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

#include "tests/git/hand_made_pack.h"

namespace weir::git {
namespace {

std::span<std::uint8_t> writable(std::string& text) {
  return {reinterpret_cast<std::uint8_t*>(text.data()), text.size()};
}
std::string noise(std::size_t bytes) {
  std::mt19937 random(7);
  std::string out(bytes, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

TEST(ObjectCodec, inflates_what_was_deflated_and_says_where_it_ended) {
  Inflater inflater;
  for (const int level : {0, 1, 6, 12}) {
    for (const std::string& content :
         {std::string(), std::string("x"), std::string(100000, 'y'), noise(100000)}) {
      std::string stream = "before";
      Deflater(level).deflate(bytes_of(content), stream);
      EXPECT_EQ(stream.substr(0, 6), "before");
      stream.erase(0, 6);
      std::string out(content.size(), '\0');
      EXPECT_EQ(inflater.inflate(bytes_of(stream + "next"), writable(out)).value(), stream.size());
      EXPECT_EQ(out, content);
      EXPECT_LE(content.size(), inflated_bytes_max(stream.size()));
    }
  }
}

TEST(ObjectCodec, inflates_heads_of_streams) {
  Inflater inflater;
  const std::string content = "head " + noise(1 << 20);
  const std::string stream = deflated(content);
  for (const std::size_t bytes : {1U, 5U, 300U, 70000U}) {
    std::string head(bytes, '\0');
    EXPECT_EQ(inflater.inflate_head(bytes_of(stream), writable(head)).value(), bytes);
    EXPECT_EQ(head, content.substr(0, bytes));
  }
  std::string head(32, '\0');
  EXPECT_EQ(inflater.inflate_head(bytes_of(deflated("short") + "next"), writable(head)).value(),
            5U);
  EXPECT_EQ(head.substr(0, 5), "short");
  EXPECT_EQ(inflater.inflate_head(bytes_of(deflated("")), writable(head)).value(), 0U);
  // Of a long stream its beginning is enough.
  EXPECT_EQ(inflater.inflate_head(bytes_of(stream).first(1000), writable(head)).value(), 32U);
}

TEST(ObjectCodec, refuses_streams_that_are_broken_or_of_another_size) {
  Inflater inflater;
  const std::string content = "some content, some content";
  const std::string stream = deflated(content);
  std::string checksum = stream, header = stream, dictionary = stream;
  checksum.back() = static_cast<char>(checksum.back() ^ 1);
  header[0] = 0x77;
  dictionary.replace(0, 2, "\x78\xbb");
  const struct {
    std::string stream;
    std::size_t bytes;
  } refused[] = {
      {"", 0},
      {"", 1},
      {"x", 1},
      {std::string(100, '\0'), 10},
      {std::string(100, '\xff'), 10},
      {stream, 0},
      {stream, content.size() - 1},
      {stream, content.size() + 1},
      {stream, 1000},
      {stream.substr(0, stream.size() - 1), content.size()},
      {stream.substr(0, 2), content.size()},
      {stream.substr(1), content.size()},
      {stream.substr(2), content.size()},
      {checksum, content.size()},
      {header, content.size()},
      {dictionary, content.size()},
      {"\x78\x9c\x07" + stream, content.size()},  // a reserved kind of block
  };
  for (const auto& item : refused) {
    SCOPED_TRACE(testing::PrintToString(item.stream));
    std::string out(item.bytes, '\0');
    const auto taken = inflater.inflate(bytes_of(item.stream), writable(out));
    ASSERT_FALSE(taken) << item.bytes;
    EXPECT_EQ(taken.error().code, io::Errc::corrupt);
  }
  std::string head(64, '\0');
  for (const std::string& broken :
       {std::string(), std::string("x"), stream.substr(0, stream.size() - 1), stream.substr(0, 4),
        stream.substr(1), checksum, header, dictionary, std::string(100, '\xff')}) {
    EXPECT_FALSE(inflater.inflate_head(bytes_of(broken), writable(head)));
  }
  // One that failed does not spoil the next.
  EXPECT_EQ(inflater.inflate_head(bytes_of(stream), writable(head)).value(), content.size());
}

TEST(Delta, says_its_sizes) {
  const struct {
    std::string delta;
    std::uint64_t base, result;
    std::size_t head_bytes;
  } accepted[] = {
      {std::string("\0\0", 2), 0, 0, 2},
      {"\x7f\x80\x01rest", 127, 128, 3},
      {std::string("\x80\x80\x00\x01", 4), 0, 1, 4},  // longer than it need be, as git takes it
      {std::string(9, '\xff') + "\x01\x05", UINT64_MAX, 5, 11},
  };
  for (const auto& item : accepted) {
    const auto sizes = delta_sizes(bytes_of(item.delta));
    ASSERT_TRUE(sizes) << testing::PrintToString(item.delta);
    EXPECT_EQ(sizes->base, item.base);
    EXPECT_EQ(sizes->result, item.result);
    EXPECT_EQ(sizes->head_bytes, item.head_bytes);
  }
  for (const std::string& refused :
       {std::string(), std::string("\x01"), std::string("\x80"), std::string("\x01\x80"),
        std::string(40, '\x80'), std::string(40, '\xff'), std::string(9, '\xff') + "\x02\x05",
        std::string(10, '\x80') + std::string("\0\x05", 2)}) {
    EXPECT_FALSE(delta_sizes(bytes_of(refused))) << testing::PrintToString(refused);
  }
}

TEST(Delta, copies_from_its_base_and_inserts) {
  const std::string base = "0123456789" + std::string(0x30000, 'b') + "end";
  const std::string sizes = "\x8d\x80\x0c";  // of the base: 0x3000d
  const struct {
    std::string delta, result;
  } accepted[] = {
      {std::string("\x05\x05hello", 7), "hello"},
      {std::string("\x05\x90\x05", 3), "01234"},
      {std::string("\x03\x91\x07\x03", 4), "789"},
      {std::string("\x03\x95\x0a\x03\x03", 5), "end"},
      {std::string("\x06\x91\x08\x02\x02--\x91\x00\x02", 10), "89--01"},
      {std::string("\x80\x80\x04\x81\x0a", 5), std::string(0x10000, 'b')},  // no size: 64 KiB
      {std::string("\x80\x80\x08\xc1\x0a\x02", 6), std::string(0x20000, 'b')},
  };
  for (const auto& item : accepted) {
    const std::string delta = sizes + item.delta;
    std::string out(item.result.size(), '\0');
    EXPECT_TRUE(apply_delta(bytes_of(base), bytes_of(delta), writable(out)))
        << testing::PrintToString(delta);
    EXPECT_EQ(out, item.result);
  }
}

TEST(Delta, is_refused_where_it_leaves_base_result_or_itself) {
  const std::string base = "0123456789";
  const struct {
    std::string delta;
    std::size_t bytes;
  } refused[] = {
      {"", 0},
      {std::string("\x0a", 1), 0},
      {std::string("\x0a\x00", 2), 0},  // git applies none so short
      {std::string("\x0a\x05\x90", 3), 5},
      {std::string("\x09\x05\x90\x05", 4), 5},  // of another base
      {std::string("\x0b\x05\x90\x05", 4), 5},
      {std::string("\x0a\x05\x90\x05", 4), 4},  // of another result
      {std::string("\x0a\x05\x90\x05", 4), 6},
      {std::string("\x0a\x05\x90\x04", 4), 5},  // makes less than it said
      {std::string("\x0a\x05\x90\x06", 4), 5},  // makes more
      {std::string("\x0a\x05\x90\x05\x01x", 6), 5},
      {std::string("\x0a\x0b\x90\x0b", 4), 11},  // beyond the base
      {std::string("\x0a\x05\x91\x06\x05", 5), 5},
      {std::string("\x0a\x01\x91\x0a\x01", 5), 1},
      {std::string("\x0a\x01\x9f\xff\xff\xff\xff\x01", 8), 1},
      {std::string("\x0a\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10), 127},
      {std::string("\x0a\x05\x80", 3), 5},  // 64 KiB of ten bytes
      {std::string("\x0a\x05\x80\x80", 4), 5},
      {std::string("\x0a\x05\x00\x05hello", 8), 5},  // reserved
      {std::string("\x0a\x05\x05hello\x00", 9), 5},
      {std::string("\x0a\x05\x05hell", 7), 5},  // inserts more than there is
      {std::string("\x0a\x05\x7fhello", 8), 5},
      {std::string("\x0a\x05\x05hellox", 9), 5},
      {std::string("\x0a\x05\xff", 3), 5},  // a copy that ends too early
      {std::string("\x0a\x05\x9f\x00\x00\x00", 6), 5},
      {std::string("\x0a\x05\xf0\x05\x00", 5), 5},
      {std::string("\x80\x80\x80\x80", 4), 5},
  };
  for (const auto& item : refused) {
    std::string out(item.bytes, '\0');
    EXPECT_FALSE(apply_delta(bytes_of(base), bytes_of(item.delta), writable(out)))
        << testing::PrintToString(item.delta);
  }
}

}  // namespace
}  // namespace weir::git
