#include "io/proxy_protocol.h"

#include <gtest/gtest.h>

#include "tests/io/tls_pair.h"

namespace weir::io {
namespace {

using std::string_literals::operator""s;

const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;

std::string header(char command, char family, const std::string& body,
                   std::optional<std::size_t> length = {}) {
  const std::size_t bytes = length.value_or(body.size());
  return kSignature + command + family + static_cast<char>(bytes >> 8) + static_cast<char>(bytes) +
         body;
}

const std::string kTcp4Body = "\xc0\x00\x02\x07\xc6\x33\x64\x01\xd4\x31\x01\xbb"s;
const std::string kTcp6Body = "\x20\x01\x0d\xb8"s + std::string(11, '\0') + "\x07"s +
                              std::string(16, '\1') + "\x00\x50\x01\xbb"s;

TEST(ProxyProtocol, accepts_the_headers_of_balancers) {
  const struct {
    std::string bytes, address;
    int port;
  } cases[] = {
      {header('\x21', '\x11', kTcp4Body), "192.0.2.7", 54321},
      {header('\x21', '\x21', kTcp6Body), "2001:db8::7", 80},
      {header('\x21', '\x11', kTcp4Body + "\x03\x00\x04\x01\x02\x03\x04"s), "192.0.2.7", 54321},
      {header('\x20', '\x00', ""), "", 0},
      {header('\x20', '\x11', kTcp4Body), "", 0},
      {header('\x21', '\x00', "unspecified"), "", 0},
      {header('\x21', '\x11', kTcp4Body + std::string(4096 - 16 - 12, 'x')), "192.0.2.7", 54321},
  };
  for (const auto& [bytes, address, port] : cases) {
    ProxyHeader parsed;
    ASSERT_EQ(parse_proxy_v2(bytes_of(bytes + "GET /"), parsed), ProxyStatus::complete);
    EXPECT_EQ(parsed.address, address);
    EXPECT_EQ(parsed.port, port);
    EXPECT_EQ(parsed.bytes, bytes.size());
  }
}

TEST(ProxyProtocol, waits_at_every_truncation) {
  for (const std::string& whole :
       {header('\x21', '\x11', kTcp4Body), header('\x21', '\x21', kTcp6Body + "\x04\x00\x01x"s)}) {
    for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
      ProxyHeader parsed;
      EXPECT_EQ(parse_proxy_v2(bytes_of(whole.substr(0, bytes)), parsed), ProxyStatus::need_more)
          << bytes;
    }
  }
}

TEST(ProxyProtocol, refuses_as_soon_as_it_is_certain) {
  const std::string cases[] = {
      "G",
      "GET / HTTP/1.1\r\n",
      "PROXY TCP4 192.0.2.7 198.51.100.1 54321 443\r\n",  // version 1
      "\x16\x03\x01\x02\x00",
      "\r\n\r\nX",
      "\r\n\r\n\0\r\nQUIT\r"s,
      std::string(12, '\0'),
      kSignature + "\x11",  // version 1 in the version nibble
      kSignature + "\x31",
      kSignature + "\x22",  // a command that is neither
      kSignature + "\x2f",
      kSignature + "\0"s,
      header('\x21', '\x12', kTcp4Body),  // UDP
      header('\x21', '\x22', kTcp6Body),
      header('\x21', '\x31', std::string(216, 'u')),  // UNIX
      header('\x21', '\x10', kTcp4Body),              // no transport
      header('\x21', '\x01', kTcp4Body),              // no family
      header('\x21', '\xff', kTcp4Body),
      header('\x21', '\x11', ""),  // too short for its addresses
      header('\x21', '\x11', kTcp4Body.substr(1)),
      header('\x21', '\x21', kTcp4Body),
      header('\x21', '\x21', kTcp6Body.substr(1)),
      header('\x21', '\x11', kTcp4Body, 4081),  // 4,097 bytes in all
      header('\x21', '\x11', kTcp4Body, 0xffff),
      header('\x20', '\x00', "", 0xffff),
  };
  for (const std::string& bytes : cases) {
    ProxyHeader parsed;
    EXPECT_EQ(parse_proxy_v2(bytes_of(bytes), parsed), ProxyStatus::refused)
        << testing::PrintToString(bytes);
    EXPECT_STRNE(parsed.problem, "");
    EXPECT_EQ(parsed.address, "");
  }
}

}  // namespace
}  // namespace weir::io
