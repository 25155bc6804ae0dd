#include "server/client_address.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

TEST(ClientAddress, parses_networks) {
  const struct {
    const char* network;
    const char* inside;
    const char* outside;
  } table[] = {
      {"10.0.0.0/8", "10.255.1.2", "11.0.0.1"},
      {"192.168.1.0/24", "192.168.1.255", "192.168.2.0"},
      {"192.168.1.128/25", "192.168.1.200", "192.168.1.127"},
      {"127.0.0.1", "127.0.0.1", "127.0.0.2"},
      {"127.0.0.1/32", "::ffff:127.0.0.1", "127.0.0.2"},
      {"0.0.0.0/0", "8.8.8.8", "2001:db8::1"},
      {"::/0", "8.8.8.8", "not an address"},
      {"2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"},
      {"::1", "::1", "::2"},
      {"fe80::/10", "febf::1", "fec0::1"},
  };
  for (const auto& row : table) {
    const Networks networks({row.network});
    EXPECT_TRUE(networks.contains(row.inside)) << row.network << " " << row.inside;
    EXPECT_FALSE(networks.contains(row.outside)) << row.network << " " << row.outside;
  }
  EXPECT_FALSE(Networks().contains("127.0.0.1"));
}

TEST(ClientAddress, refuses_what_is_not_a_network) {
  for (const char* bad : {"",
                          "/",
                          "/8",
                          "10.0.0.0/",
                          "10.0.0.0/33",
                          "10.0.0.0/-1",
                          "10.0.0.0/+8",
                          "10.0.0.0/8x",
                          "10.0.0.1/8",
                          "10.0.0/8",
                          "10.0.0.0.0",
                          "010.0.0.256",
                          "::/129",
                          "2001:db8::1/32",
                          "::1%lo",
                          "[::1]",
                          "localhost",
                          "10.0.0.0 /8",
                          "10.0.0.0/8 ",
                          "fe80::/10/10",
                          "10.0.0.0/08/1",
                          "*",
                          "10.*"}) {
    EXPECT_FALSE(parse_network(bad)) << bad;
  }
}

std::string resolved(std::string_view peer, const std::vector<std::string_view>& forwarded) {
  static const Networks proxies({"10.0.0.0/8", "fd00::/8"});
  http::RequestHead head;
  for (const std::string_view value : forwarded) {
    head.fields.push_back({"X-Forwarded-For", value});
    head.fields.push_back({"accept", "1.1.1.1"});
  }
  return client_address(peer, head, proxies);
}

TEST(ClientAddress, believes_only_listed_proxies) {
  const struct {
    const char* peer;
    std::vector<std::string_view> forwarded;
    const char* client;
  } table[] = {
      {"192.0.2.1", {}, "192.0.2.1"},
      {"192.0.2.1", {"198.51.100.7"}, "192.0.2.1"},  // not a proxy: its word is nothing
      {"10.0.0.1", {}, "10.0.0.1"},
      {"10.0.0.1", {"198.51.100.7"}, "198.51.100.7"},
      {"::ffff:10.0.0.1", {"198.51.100.7"}, "198.51.100.7"},
      {"fd00::1", {"2001:DB8:0::7"}, "2001:db8::7"},
      {"10.0.0.1", {"6.6.6.6, 198.51.100.7"}, "198.51.100.7"},          // forged by the client
      {"10.0.0.1", {"6.6.6.6,198.51.100.7,10.0.0.2"}, "198.51.100.7"},  // two proxies
      {"10.0.0.1", {"6.6.6.6", "198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
      {"10.0.0.1", {"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},  // all of them proxies
      {"10.0.0.1", {"198.51.100.7:4711"}, "198.51.100.7"},
      {"10.0.0.1", {"[2001:db8::7]:4711"}, "2001:db8::7"},
      {"10.0.0.1", {"[2001:db8::7]"}, "2001:db8::7"},
      {"10.0.0.1", {" \t198.51.100.7 "}, "198.51.100.7"},
      {"unix", {"198.51.100.7"}, "unix"},
  };
  for (const auto& row : table) EXPECT_EQ(resolved(row.peer, row.forwarded), row.client);
}

TEST(ClientAddress, stops_at_what_it_cannot_read) {
  for (const char* bad :
       {"", "unknown", "_hidden", "198.51.100.7 198.51.100.8", "198.51.100.7:", "198.51.100.7:x",
        "198.51.100.7:123456", "[2001:db8::7", "2001:db8::7]", "[198.51.100.7]", "[2001:db8::7]x",
        "198.51.100.256", "for=1.2.3.4", "'1.2.3.4'", "1.2.3.4;", "198.51.100.7,"}) {
    EXPECT_EQ(resolved("10.0.0.1", {bad}), "10.0.0.1") << bad;
    const std::string before = std::string("6.6.6.6,") + bad + ",10.0.0.2";
    if (std::string_view(bad).ends_with(',')) continue;
    EXPECT_EQ(resolved("10.0.0.1", {before}), "10.0.0.2") << before;
  }
}

TEST(ClientAddress, looks_at_a_bounded_number_of_hops) {
  std::string hops = "198.51.100.7";
  for (int i = 0; i < 1000; ++i) hops += ",10.0.0.2";
  EXPECT_EQ(resolved("10.0.0.1", {hops}), "10.0.0.2");
}

}  // namespace
}  // namespace weir::server
