#include "io/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <thread>
#include <vector>

#include "io/metrics.h"

namespace weir::io {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  append_json_escaped(out, text);
  return out;
}

TEST(Log, escapes_what_json_strings_may_not_hold) {
  struct Row {
    std::string_view text, json;
  };
  using std::string_view_literals::operator""sv;
  const Row rows[] = {
      {"plain /path?x", "plain /path?x"},
      {"quote\" back\\", R"(quote\" back\\)"},
      {"  !#[]^_~~}|`@AZaz09", "  !#[]^_~~}|`@AZaz09"},
      {"line\nfeed\r\t", R"(line\nfeed\u000d\u0009)"},
      {"\0\x1f\x7f"sv, R"(\u0000\u001f\u007f)"},
      {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8a",
       "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8a"},
      {"\x80", R"(\ufffd)"},                                // a lone continuation
      {"\xc3", R"(\ufffd)"},                                // cut short
      {"\xc0\xaf", R"(\ufffd\ufffd)"},                      // overlong
      {"\xe0\x80\xaf", R"(\ufffd\ufffd\ufffd)"},            // overlong
      {"\xed\xa0\x80", R"(\ufffd\ufffd\ufffd)"},            // a surrogate
      {"\xf4\x90\x80\x80", R"(\ufffd\ufffd\ufffd\ufffd)"},  // above U+10FFFF
      {"\xf0\x8f\xbf\xbf", R"(\ufffd\ufffd\ufffd\ufffd)"},  // overlong
      {"\xff\xfe", R"(\ufffd\ufffd)"},
      {"\xe2\x82x", R"(\ufffd\ufffdx)"},
      {"\xc2\x9b[m\xc2\x85\xc2\xa0", "\\u009b[m\\u0085\xc2\xa0"},         // C1: CSI and NEL
      {"\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6", R"(\u2028\u202e\u2066)"},  // lines, directions
      {"\xe2\x80\x8f\xe2\x80\x90\xd8\x9c\xd8\x9d", "\\u200f\xe2\x80\x90\\u061c\xd8\x9d"},
  };
  for (const Row& row : rows) EXPECT_EQ(escaped(row.text), row.json) << row.json;
}

TEST(Log, finds_what_needs_an_escape_at_each_place_of_a_long_text) {
  for (const char special : {'"', '\\', '\x00', '\x1f', '\x7f', '\xff'}) {
    for (std::size_t at = 0; at < 20; ++at) {
      std::string text(20, 'x');
      text[at] = special;
      std::string expected(at, 'x');
      expected += escaped(std::string_view(&special, 1)) + std::string(19 - at, 'x');
      EXPECT_EQ(escaped(text), expected) << at;
    }
  }
}

std::string read_all(int fd) {
  std::string all;
  std::array<char, 65536> chunk;
  for (ssize_t n; (n = read(fd, chunk.data(), chunk.size())) > 0;) {
    all.append(chunk.data(), static_cast<std::size_t>(n));
  }
  return all;
}

TEST(Log, writes_records_of_all_threads_as_whole_lines) {
  std::array<int, 2> ends;
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  std::string all;
  std::thread reader([&] { all = read_all(ends[0]); });
  log_start(ends[1]);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int n = 0; n < 500; ++n) log_record(R"({"request":"one"})");
    });
  }
  for (std::thread& thread : threads) thread.join();
  log_event(LogLevel::warn, "a \"quoted\" event");
  log_stop();
  close(ends[1]);
  reader.join();
  close(ends[0]);
  std::size_t lines = 0, records = 0;
  for (std::size_t at = 0; at < all.size(); ++lines) {
    const std::size_t end = all.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    if (all.substr(at, end - at) == R"({"request":"one"})") ++records;
    at = end + 1;
  }
  EXPECT_EQ(records, 2000U);
  EXPECT_EQ(lines, 2001U);
  EXPECT_NE(all.find(R"("level":"warn",)"), std::string::npos);
  EXPECT_NE(all.find(R"("message":"a \"quoted\" event"})"), std::string::npos);
}

TEST(Log, drops_and_counts_when_the_reader_does_not_read) {
  std::array<int, 2> ends;
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const std::int64_t dropped_before = Metrics::instance().value("weir_log_dropped_total", "");
  log_start(ends[1]);
  const std::string record = "{\"x\":\"" + std::string(1000, 'x') + "\"}";
  const std::size_t count = 3 * kLogBufferBytesMax / record.size();  // cannot all fit
  for (std::size_t i = 0; i < count; ++i) log_record(record);
  std::string all;
  std::thread reader([&] { all = read_all(ends[0]); });
  log_stop();
  close(ends[1]);
  reader.join();
  close(ends[0]);
  const auto written = static_cast<std::int64_t>(all.size() / (record.size() + 1));
  const std::int64_t dropped =
      Metrics::instance().value("weir_log_dropped_total", "") - dropped_before;
  EXPECT_GT(dropped, 0);
  EXPECT_EQ(written + dropped, static_cast<std::int64_t>(count));
}

std::string text_of(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text = fd < 0 ? "" : read_all(fd);
  close(fd);
  return text;
}

TEST(Log, goes_on_in_a_new_file_after_the_old_one_was_moved_away) {
  const std::string path = testing::TempDir() + "weir-log-test-" + std::to_string(getpid());
  const Result<int> fd = log_open(path);
  ASSERT_TRUE(fd.has_value());
  log_start(*fd);
  log_record("{\"n\":1}");
  while (text_of(path).empty()) std::this_thread::yield();
  ASSERT_EQ(rename(path.c_str(), (path + ".1").c_str()), 0);
  ASSERT_TRUE(log_reopen(path).has_value());
  log_record("{\"n\":2}");
  EXPECT_FALSE(log_reopen("/nonexistent/folder/log").has_value());  // changes nothing
  log_record("{\"n\":3}");
  log_stop();
  close(*fd);
  EXPECT_EQ(text_of(path + ".1"), "{\"n\":1}\n");
  EXPECT_EQ(text_of(path), "{\"n\":2}\n{\"n\":3}\n");
  unlink(path.c_str());
  unlink((path + ".1").c_str());
}

TEST(Log, stop_returns_although_nobody_reads) {
  std::array<int, 2> ends;
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  log_start(ends[1]);
  const std::string record(1000, 'x');
  for (int i = 0; i < 500; ++i) log_record(record);
  log_stop();
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace weir::io
