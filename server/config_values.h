#pragma once
// What the values of a configuration may look like. Pure; used for the file, and again for the
// command line, which may replace some of them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::server {

struct SocketAddress {
  std::string host;  // numeric IPv4 or IPv6, without brackets
  std::uint16_t port = 0;
};

// "127.0.0.1:8443" or "[::1]:8443"; port 0: any free one.
std::optional<SocketAddress> parse_socket_address(std::string_view text);
bool is_socket_address(std::string_view text);
bool is_loopback_socket_address(std::string_view text);
bool is_network(std::string_view text);
// "acme", "acme/tools/*", "acme/site": the first part is a plain name.
bool is_rule_match(std::string_view text);
// Goes between quotes in WWW-Authenticate.
bool is_realm(std::string_view text);

}  // namespace weir::server
