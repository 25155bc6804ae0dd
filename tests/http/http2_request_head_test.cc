#include "http/http2_request_head.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace weir::http {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

Fields good() {
  return {
      {":method", "GET"}, {":scheme", "https"}, {":authority", "weir.test"}, {":path", "/a?b=c"}};
}

Fields with(Fields fields, const std::string& name, const std::string& value) {
  for (auto& [key, text] : fields) {
    if (key == name) {
      text = value;
      return fields;
    }
  }
  fields.emplace_back(name, value);
  return fields;
}

Fields without(const Fields& fields, const std::string& name) {
  Fields rest;
  for (const auto& field : fields) {
    if (field.first != name) rest.push_back(field);
  }
  return rest;
}

std::optional<HeadRefusal> build(const Fields& fields, RequestHead& head,
                                 HeadLimits limits = kHeadLimitsDefault, bool body = false) {
  Http2RequestHeadBuilder builder;
  builder.reset();
  for (const auto& [name, value] : fields) {
    if (!name.starts_with(':') && builder.limits_wanted()) builder.set_limits(limits);
    builder.add(name, value);
  }
  return builder.finish(head, body);
}

TEST(Http2RequestHead, keeps_every_part_of_a_request) {
  Fields fields = good();
  fields.emplace_back("accept", "*/*");
  fields.emplace_back("content-length", "12");
  fields.emplace_back("expect", "100-continue");
  RequestHead head;
  ASSERT_FALSE(build(fields, head, kHeadLimitsDefault, true));
  EXPECT_EQ(head.method, Method::get);
  EXPECT_EQ(head.method_text, "GET");
  EXPECT_EQ(head.scheme, "https");
  EXPECT_EQ(head.authority, "weir.test");
  EXPECT_EQ(head.target, "/a?b=c");
  EXPECT_EQ(head.path, "/a");
  EXPECT_EQ(head.query, "b=c");
  EXPECT_EQ(head.version, Version::http2);
  EXPECT_EQ(head.content_length, 12U);
  EXPECT_TRUE(head.has_body);
  EXPECT_TRUE(head.expect_continue);
  EXPECT_EQ(head.field("Accept"), "*/*");
}

TEST(Http2RequestHead, takes_host_for_a_missing_authority) {
  RequestHead head;
  ASSERT_FALSE(build(with(without(good(), ":authority"), "host", "other.test"), head));
  EXPECT_EQ(head.authority, "other.test");
}

TEST(Http2RequestHead, takes_a_host_that_equals_the_authority) {
  RequestHead head;
  EXPECT_FALSE(build(with(good(), "host", "WEIR.test"), head));
}

TEST(Http2RequestHead, takes_an_asterisk_for_options_only) {
  RequestHead head;
  EXPECT_FALSE(build(with(with(good(), ":method", "OPTIONS"), ":path", "*"), head));
}

TEST(Http2RequestHead, refuses) {
  Fields two_hosts = good();
  two_hosts.emplace_back("host", "weir.test");
  two_hosts.emplace_back("host", "weir.test");
  Fields two_lengths = good();
  two_lengths.emplace_back("content-length", "1");
  two_lengths.emplace_back("content-length", "1");
  const std::vector<std::pair<Fields, int>> table{
      {without(good(), ":method"), 400},
      {with(good(), ":method", ""), 400},
      {with(good(), ":method", "GE T"), 400},
      {with(good(), ":method", "GET\r\n"), 400},
      {with(good(), ":method", "CONNECT"), 501},
      {without(good(), ":scheme"), 400},
      {with(good(), ":scheme", "ftp"), 400},
      {with(good(), ":scheme", "HTTPS "), 400},
      {without(good(), ":authority"), 400},
      {with(good(), ":authority", ""), 400},
      {with(good(), ":authority", "user@weir.test"), 400},
      {with(good(), ":authority", "weir.test/x"), 400},
      {with(good(), ":authority", "weir.test, evil"), 400},
      {with(good(), "host", "evil.test"), 400},
      {two_hosts, 400},
      {without(good(), ":path"), 400},
      {with(good(), ":path", ""), 400},
      {with(good(), ":path", "a"), 400},
      {with(good(), ":path", "*"), 400},
      {with(good(), ":path", "https://weir.test/"), 400},
      {with(good(), ":path", "/a b"), 400},
      {with(good(), ":path", "/a\r\nx: y"), 400},
      {with(good(), ":path", std::string("/a\0b", 4)), 400},
      {with(good(), ":path", "/a#b"), 400},
      {with(good(), ":path", "/\xc3\xa4"), 400},
      {with(good(), ":path", "/" + std::string(kRequestLineBytesMax, 'a')), 414},
      {with(good(), "content-length", ""), 400},
      {with(good(), "content-length", "-1"), 400},
      {with(good(), "content-length", "+1"), 400},
      {with(good(), "content-length", "1 "), 400},
      {with(good(), "content-length", "1,1"), 400},
      {with(good(), "content-length", "99999999999999999999999"), 400},
      {two_lengths, 400},
      {with(good(), "x", std::string(kHeadLimitsDefault.head_bytes_max, 'x')), 431},
  };
  for (const auto& [fields, status] : table) {
    RequestHead head;
    const auto refusal = build(fields, head);
    ASSERT_TRUE(refusal) << fields.back().first << ": " << fields.back().second.substr(0, 40);
    EXPECT_EQ(refusal->status, status) << refusal->reason;
  }
}

TEST(Http2RequestHead, counts_fields_and_their_overhead_against_the_routes_limits) {
  Fields fields = good();
  for (int i = 0; i < 101; ++i) fields.emplace_back("x-" + std::to_string(i), "v");
  RequestHead head;
  const auto refusal = build(fields, head);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->status, 431);
  RequestHead wide;
  EXPECT_FALSE(build(fields, wide, kHeadLimitsMercurial));
  EXPECT_EQ(wide.fields.size(), 101U);
  Fields empty = good();
  for (int i = 0; i < 99; ++i) empty.emplace_back("", "");
  RequestHead counted;
  EXPECT_TRUE(build(empty, counted, {99 * kFieldOverheadBytes, 1000}));
}

TEST(Http2RequestHead, does_not_store_what_is_over_the_limit) {
  Http2RequestHeadBuilder builder;
  builder.reset();
  builder.set_limits({1024, 100});
  for (int i = 0; i < 100 && !builder.far_over_limit(); ++i)
    builder.add("x", std::string(500, 'x'));
  EXPECT_TRUE(builder.far_over_limit());
  RequestHead head;
  EXPECT_TRUE(builder.finish(head, false));
  EXPECT_TRUE(head.storage.empty());
}

}  // namespace
}  // namespace weir::http
