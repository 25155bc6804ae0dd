#include "http/http1_response_head.h"

#include <gtest/gtest.h>

#include "http/http_date.h"

namespace weir::http {
namespace {

TEST(Http1ResponseHead, writes_status_fields_and_framing) {
  ResponseHead response;
  response.status = 404;
  response.fields.emplace_back("content-type", "text/plain");
  Http1Framing framing;
  framing.content_length = 18'446'744'073'709'551'615ULL;
  framing.close = true;
  std::string out;
  append_response_head(out, response, framing, "then");
  EXPECT_EQ(out,
            "HTTP/1.1 404 Not Found\r\nserver: weir\r\ndate: then\r\ncontent-type: text/plain\r\n"
            "content-length: 18446744073709551615\r\nconnection: close\r\n\r\n");
}

TEST(Http1ResponseHead, lets_no_value_end_its_field) {
  ResponseHead response;
  response.fields.emplace_back("x-name", std::string("a\r\nset-cookie: b\0\x7f\xc3\xa9\t", 21));
  std::string out;
  append_response_head(out, response, {}, "then");
  EXPECT_TRUE(out.contains("x-name: a??set-cookie: b??\xc3\xa9\t\r\n\r\n")) << out;
}

TEST(HttpDate, is_what_the_standard_shows) {
  EXPECT_EQ(http_date(784'111'777'999'999'999), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(http_date(1'709'164'800'000'000'000), "Thu, 29 Feb 2024 00:00:00 GMT");
  EXPECT_EQ(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
}

}  // namespace
}  // namespace weir::http
