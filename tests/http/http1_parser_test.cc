#include "http/http1_parser.h"

#include <gtest/gtest.h>
#include <http_parser.h>

#include <string>
#include <vector>

namespace weir::http {
namespace {

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

struct Outcome {
  Http1Parser::Status status = Http1Parser::Status::need_more;
  int error_status = 0;
  std::string reason;
  std::string head;  // every part of a complete head, as text
  std::size_t consumed = 0;
  bool operator==(const Outcome&) const = default;
};

std::string describe(const RequestHead& head, const Http1Parser& parser) {
  std::string text;
  for (const std::string_view part :
       {head.method_text, head.authority, head.target, head.path, head.query}) {
    text.append(part).append("|");
  }
  for (const Field& field : head.fields)
    text.append(field.name).append("=").append(field.value).append("|");
  text += head.content_length ? std::to_string(*head.content_length) : "-";
  text += parser.chunked() ? " chunked" : "";
  text += head.has_body ? " body" : "";
  text += head.expect_continue ? " expect" : "";
  text += parser.keep_alive() ? " keep" : " close";
  text += head.version == Version::http10 ? " 1.0" : "";
  return text;
}

// Feeds `pieces` one after the other, as reads would.
Outcome parse(const std::vector<std::string_view>& pieces, HeadLimits limits = kHeadLimitsDefault) {
  RequestHead head;
  Http1Parser parser;
  parser.begin(head);
  Outcome outcome;
  for (const std::string_view piece : pieces) {
    // A copy of exactly this size: what reads behind it is seen by the address sanitizer.
    const std::vector<std::uint8_t> copy(piece.begin(), piece.end());
    std::span<const std::uint8_t> input = copy;
    do {
      outcome.status = parser.feed(input);
      if (outcome.status == Http1Parser::Status::request_line) parser.set_limits(limits);
    } while (outcome.status == Http1Parser::Status::request_line);
    outcome.consumed += copy.size() - input.size();
    if (outcome.status != Http1Parser::Status::need_more) break;
  }
  if (outcome.status == Http1Parser::Status::error) {
    outcome.error_status = parser.error().status;
    outcome.reason = parser.error().reason;
    outcome.consumed = 0;  // an error has no position
  }
  if (outcome.status == Http1Parser::Status::complete) outcome.head = describe(head, parser);
  return outcome;
}

Outcome parse_split(std::string_view text, std::size_t at, HeadLimits limits = kHeadLimitsDefault) {
  return parse({text.substr(0, at), text.substr(at)}, limits);
}

Outcome parse_bytewise(std::string_view text, HeadLimits limits = kHeadLimitsDefault) {
  std::vector<std::string_view> pieces;
  for (std::size_t i = 0; i < text.size(); ++i) pieces.push_back(text.substr(i, 1));
  return parse(pieces, limits);
}

struct Accepted {
  std::string_view request;
  std::string_view head;
};

const std::string_view kHost = "Host: h\r\n";

const std::vector<Accepted>& accepted() {
  static const std::vector<Accepted> kAccepted = {
      {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET|h|/|/||Host=h|- keep"},
      {"GET /a/b.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: h:8443\r\n"
       "Git-Protocol: version=2\r\n\r\n",
       "GET|h:8443|/a/b.git/info/refs?service=git-upload-pack|/a/b.git/info/refs|"
       "service=git-upload-pack|Host=h:8443|Git-Protocol=version=2|- keep"},
      {"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n0000",
       "POST|h|/x|/x||Host=h|Content-Length=4|4 body keep"},
      {"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding:  Chunked \t\r\n\r\n",
       "POST|h|/x|/x||host=h|transfer-encoding=Chunked|- chunked body keep"},
      {"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
       "POST|h|/x|/x||Host=h|Content-Length=0|Expect=100-continue|0 keep"},
      {"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-Continue\r\n\r\n",
       "POST|h|/x|/x||Host=h|Content-Length=9|Expect=100-Continue|9 body expect keep"},
      {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
       "GET|h|/|/||Host=h|Connection=close|- close"},
      {"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade, CLOSE ,keep-alive\r\n\r\n",
       "GET|h|/|/||Host=h|Connection=upgrade, CLOSE ,keep-alive|- close"},
      {"GET / HTTP/1.0\r\n\r\n", "GET||/|/||- close 1.0"},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
       "GET||/|/||Connection=Keep-Alive|- keep 1.0"},
      {"GET https://h/p?q HTTP/1.1\r\nHost: H\r\n\r\n", "GET|h|/p?q|/p|q|Host=H|- keep"},
      {"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET|h|/|/||Host=h|- keep"},
      {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS|h|*|*||Host=h|- keep"},
      {"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET|h|/|/||Host=h|- keep"},
      {"PROPFIND /%41?a?b HTTP/1.1\r\nHost: [::1]:80\r\nX:\r\nY: \xc3\xa9\tz\r\n\r\n",
       "PROPFIND|[::1]:80|/%41?a?b|/%41|a?b|Host=[::1]:80|X=|Y=\xc3\xa9\tz|- keep"},
  };
  return kAccepted;
}

struct Refused {
  std::string request;
  int status;
  std::string_view reason;  // a part of it
};

std::string with_field(std::string_view field) {
  return std::string("POST / HTTP/1.1\r\n") + std::string(kHost) + std::string(field) + "\r\n\r\n";
}

const std::vector<Refused>& refused() {
  using std::string_literals::operator""s;
  static const std::vector<Refused> kRefused = {
      // Framing that two parsers could read differently.
      {with_field("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400, "both"},
      {with_field("Transfer-Encoding: chunked\r\nContent-Length: 5"), 400, "both"},
      {with_field("Content-Length: 5\r\nContent-Length: 6"), 400, "repeated"},
      {with_field("Content-Length: 5\r\nContent-Length: 5"), 400, "repeated"},
      {with_field("Content-Length: 5, 5"), 400, "Content-Length"},
      {with_field("Content-Length: +5"), 400, "Content-Length"},
      {with_field("Content-Length: -5"), 400, "Content-Length"},
      {with_field("Content-Length: 5 5"), 400, "Content-Length"},
      {with_field("Content-Length: 0x5"), 400, "Content-Length"},
      {with_field("Content-Length: 5a"), 400, "Content-Length"},
      {with_field("Content-Length: \"5\""), 400, "Content-Length"},
      {with_field("Content-Length:"), 400, "Content-Length"},
      {with_field("Content-Length: 1234567890123456789"), 400, "Content-Length"},
      {with_field("Content-Length : 5"), 400, "name"},
      {with_field("Content-Length\t: 5"), 400, "name"},
      {with_field("Transfer-Encoding : chunked"), 400, "name"},
      {with_field("Transfer-Encoding: gzip"), 400, "not chunked"},
      {with_field("Transfer-Encoding: identity"), 400, "not chunked"},
      {with_field("Transfer-Encoding: xchunked"), 400, "not chunked"},
      {with_field("Transfer-Encoding: chunkedx"), 400, "not chunked"},
      {with_field("Transfer-Encoding: chunked, gzip"), 400, "not the last"},
      {with_field("Transfer-Encoding: chunked, chunked"), 400, "not the last"},
      {with_field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400, "repeated"},
      {with_field("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), 400, "repeated"},
      {with_field("Transfer-Encoding: gzip, chunked"), 501, "transfer coding"},
      {with_field("Transfer-Encoding: identity, chunked"), 501, "transfer coding"},
      {with_field("Transfer-Encoding: chunked;q=1"), 400, "malformed"},
      {with_field("Transfer-Encoding: \"chunked\""), 400, "malformed"},
      {with_field("Transfer-Encoding: , chunked"), 400, "malformed"},
      {with_field("Transfer-Encoding: chunked ,"), 400, "malformed"},
      {with_field("Transfer-Encoding:"), 400, "malformed"},
      {with_field("Transfer-Encoding: \x0b"
                  "chunked"),
       400, "control"},
      {with_field("Transfer-Encoding: chu\r\n nked"), 400, "not chunked"},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0"},
      // Lines.
      {"GET / HTTP/1.1\nHost: h\r\n\r\n", 400, "LF without CR"},
      {"GET / HTTP/1.1\r\nHost: h\n\r\n", 400, "LF without CR"},
      {"GET / HTTP/1.1\r\nHost: h\r\n\n", 400, "LF without CR"},
      {"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "no HTTP"},
      {"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "empty"},
      {"GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", 400, "target"},
      {with_field("A: b\rc"), 400, "control"},
      {with_field("A: b\r\r"), 400, "control"},
      {with_field("A: b\r\n c"), 400, "folded"},
      {with_field("A: b\r\n\tc"), 400, "folded"},
      {"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400, "folded"},
      // Field names and values.
      {with_field("A B: c"), 400, "name"},
      {with_field("A\xc3: c"), 400, "name"},
      {with_field("(A): c"), 400, "name"},
      {with_field(": c"), 400, "no name"},
      {with_field("nothing"), 400, "no colon"},
      {with_field("A: \x01"), 400, "control"},
      {with_field("A: \x7f"), 400, "control"},
      {with_field("A: b\0c"s), 400, "control"},
      {with_field("A\0: b"s), 400, "name"},
      // Host.
      {"GET / HTTP/1.1\r\n\r\n", 400, "missing"},
      {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "empty"},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "repeated"},
      {"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400, "repeated"},
      {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "Host"},
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "Host"},
      {"GET https://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400, "differs"},
      {"GET https://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n", 400, "differs"},
      {"GET https://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "authority"},
      {"GET https:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400, "authority"},
      {"GET https://a?b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path"},
      // Request line.
      {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "target"},
      {"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400, "version"},
      {"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400, "version"},
      {" GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "no HTTP"},
      {"GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n", 400, "method"},
      {"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "version"},
      {"GET /\r\n\r\n", 400, "version"},
      {"GET\r\n\r\n", 400, "target"},
      {"GET / http/1.1\r\nHost: h\r\n\r\n", 400, "version"},
      {"GET / HTTP/1.x\r\nHost: h\r\n\r\n", 400, "version"},
      {"GET / HTTP/11\r\nHost: h\r\n\r\n", 400, "version"},
      {"GET / HTTP/01.1\r\nHost: h\r\n\r\n", 400, "version"},
      {"GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505, "HTTP/1.1"},
      {"GET / HTTP/0.9\r\n\r\n", 505, "HTTP/1.1"},
      {"GET / HTTP/3.0\r\n\r\n", 505, "HTTP/1.1"},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "ALPN"},
      {"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 501, "CONNECT"},
      {"GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "neither"},
      {"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "neither"},
      {"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "neither"},
      {"GET /#x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "target"},
      {"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "target"},
      {"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "target"},
      {"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n"s, 400, "target"},
      {"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "method"},
      {std::string(33, 'A') + " / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "method"},
      {"\x16\x03\x01\x02", 400, "no HTTP"},
      // Limits.
      {"GET /" + std::string(kRequestLineBytesMax, 'a'), 414, "request line"},
      {with_field("A: " + std::string(kHeadLimitsDefault.head_bytes_max, 'a')), 431, "too large"},
  };
  return kRefused;
}

TEST(Http1Parser, accepts_well_formed_heads) {
  for (const Accepted& example : accepted()) {
    const Outcome outcome = parse({example.request});
    EXPECT_EQ(outcome.reason, "") << example.request;
    EXPECT_EQ(outcome.head, example.head) << example.request;
  }
}

TEST(Http1Parser, refuses_what_could_be_read_in_two_ways) {
  EXPECT_GT(refused().size(), accepted().size());
  for (const Refused& example : refused()) {
    const Outcome outcome = parse({example.request});
    EXPECT_EQ(outcome.error_status, example.status) << example.request.substr(0, 200);
    EXPECT_TRUE(outcome.reason.contains(example.reason))
        << example.request.substr(0, 200) << " -> " << outcome.reason;
  }
}

TEST(Http1Parser, ends_the_same_wherever_reads_cut_the_bytes) {
  for (const Accepted& example : accepted()) {
    const Outcome whole = parse({example.request});
    for (std::size_t at = 0; at <= example.request.size(); ++at) {
      EXPECT_EQ(parse_split(example.request, at), whole) << example.request << " at " << at;
    }
    EXPECT_EQ(parse_bytewise(example.request), whole);
  }
  for (const Refused& example : refused()) {
    const Outcome whole = parse({example.request});
    for (std::size_t at = 0; at <= std::min<std::size_t>(example.request.size(), 200); ++at) {
      EXPECT_EQ(parse_split(example.request, at), whole) << example.request.substr(0, 200);
    }
    EXPECT_EQ(parse_bytewise(example.request), whole) << example.request.substr(0, 200);
  }
}

TEST(Http1Parser, applies_the_limits_chosen_after_the_request_line) {
  constexpr HeadLimits kSmall{100, 3};
  const std::string line = "GET / HTTP/1.1\r\nHost: h\r\n";
  const std::string exact = line + "A: " + std::string(100 - line.size() - 7, 'a') + "\r\n\r\n";
  ASSERT_EQ(exact.size(), 100U);
  EXPECT_EQ(parse({exact}, kSmall).status, Http1Parser::Status::complete);
  const std::string over = line + "A: " + std::string(100 - line.size() - 6, 'a') + "\r\n\r\n";
  EXPECT_EQ(parse({over}, kSmall).error_status, 431);
  EXPECT_EQ(parse_bytewise(over, kSmall).error_status, 431);
  EXPECT_EQ(parse({line + "A:\r\nB:\r\n\r\n"}, kSmall).status, Http1Parser::Status::complete);
  EXPECT_EQ(parse({line + "A:\r\nB:\r\nC:\r\n\r\n"}, kSmall).error_status, 431);
}

TEST(Http1Parser, takes_the_long_heads_of_old_mercurial_clients) {
  std::string request = "GET /r?cmd=known HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 900; ++i) {
    request += "X-HgArg-" + std::to_string(i) + ": " + std::string(1000, 'x') + "\r\n";
  }
  request += "\r\n";
  EXPECT_EQ(parse({request}).error_status, 431);
  const Outcome outcome = parse({request}, kHeadLimitsMercurial);
  EXPECT_EQ(outcome.status, Http1Parser::Status::complete);
  EXPECT_TRUE(outcome.head.starts_with("GET|h|/r?cmd=known|/r|cmd=known|Host=h|X-HgArg-0=xxx"));
}

TEST(Http1Parser, leaves_the_bytes_behind_the_head) {
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
  EXPECT_EQ(parse({head + "abcGET /"}).consumed, head.size());
}

// Debian's http-parser as the oracle: what is well formed means the same to both.
struct Oracle {
  std::string url;
  std::vector<std::pair<std::string, std::string>> fields;
  bool complete = false;
  bool value_last = false;
  std::uint64_t content_length = 0;
  bool keep_alive = false;
};

Oracle ask_oracle(std::string_view request) {
  Oracle oracle;
  http_parser_settings settings{};
  settings.on_url = [](http_parser* parser, const char* at, std::size_t size) {
    static_cast<Oracle*>(parser->data)->url.append(at, size);
    return 0;
  };
  settings.on_header_field = [](http_parser* parser, const char* at, std::size_t size) {
    auto& seen = *static_cast<Oracle*>(parser->data);
    if (seen.fields.empty() || seen.value_last) seen.fields.emplace_back();
    seen.value_last = false;
    seen.fields.back().first.append(at, size);
    return 0;
  };
  settings.on_header_value = [](http_parser* parser, const char* at, std::size_t size) {
    auto& seen = *static_cast<Oracle*>(parser->data);
    seen.value_last = true;
    seen.fields.back().second.append(at, size);
    return 0;
  };
  settings.on_headers_complete = [](http_parser* parser) {
    auto& seen = *static_cast<Oracle*>(parser->data);
    seen.complete = true;
    seen.content_length = parser->content_length == ~0ULL ? 0 : parser->content_length;
    seen.keep_alive = http_should_keep_alive(parser) != 0;
    http_parser_pause(parser, 1);
    return 0;
  };
  http_parser parser;
  http_parser_init(&parser, HTTP_REQUEST);
  parser.data = &oracle;
  http_parser_execute(&parser, &settings, request.data(), request.size());
  return oracle;
}

TEST(Http1Parser, agrees_with_libhttp_parser_on_well_formed_heads) {
  const std::vector<std::string> methods = {"GET", "POST", "HEAD", "PUT", "PROPFIND"};
  const std::vector<std::string> targets = {"/", "/a/b.git/info/refs?service=git-upload-pack",
                                            "/x%2fy?", "/~u/r?a=b&c=d?e"};
  const std::vector<std::string> extras = {"",
                                           "Content-Length: 123\r\n",
                                           "Connection: close\r\n",
                                           "Connection: keep-alive\r\n",
                                           "Transfer-Encoding: chunked\r\n",
                                           "Accept: */*\r\nX-Tab: a\tb \r\nPragma:no-cache\r\n"};
  int compared = 0;
  for (const std::string& method : methods) {
    for (const std::string& target : targets) {
      for (const std::string& extra : extras) {
        for (const std::string version : {"HTTP/1.0", "HTTP/1.1"}) {
          if (version == "HTTP/1.0" && extra.contains("chunked")) continue;
          const std::string request =
              method + " " + target + " " + version + "\r\nHost: example:1\r\n" + extra + "\r\n";
          RequestHead head;
          Http1Parser parser;
          parser.begin(head);
          std::span<const std::uint8_t> input = bytes_of(request);
          while (parser.feed(input) == Http1Parser::Status::request_line) {
          }
          const Oracle oracle = ask_oracle(request);
          ASSERT_TRUE(oracle.complete) << request;
          EXPECT_EQ(head.target, oracle.url);
          EXPECT_EQ(head.content_length.value_or(0), oracle.content_length) << request;
          EXPECT_EQ(parser.keep_alive(), oracle.keep_alive) << request;
          ASSERT_EQ(head.fields.size(), oracle.fields.size()) << request;
          for (std::size_t i = 0; i < head.fields.size(); ++i) {
            EXPECT_EQ(head.fields[i].name, oracle.fields[i].first);
            std::string value = oracle.fields[i].second;  // the oracle keeps trailing blanks
            while (value.ends_with(' ')) value.pop_back();
            EXPECT_EQ(head.fields[i].value, value);
          }
          ++compared;
        }
      }
    }
  }
  EXPECT_EQ(compared, 220);
}

}  // namespace
}  // namespace weir::http
