#include "server/config_values.h"

#include <algorithm>
#include <charconv>

#include "server/client_address.h"

namespace weir::server {
namespace {

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

}  // namespace

std::optional<SocketAddress> parse_socket_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const bool has_colon = host.find(':') != std::string_view::npos;
  if (bracketed != has_colon || !parse_address(host)) return std::nullopt;
  SocketAddress address{.host = std::string(host), .port = 0};
  const char* end = port_text.data() + port_text.size();
  const auto [stop, error] = std::from_chars(port_text.data(), end, address.port);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return address;
}

bool is_socket_address(std::string_view text) {
  return parse_socket_address(text).has_value();
}

bool is_loopback_socket_address(std::string_view text) {
  static const Networks loopback({"127.0.0.0/8", "::1"});
  const auto address = parse_socket_address(text);
  return address && loopback.contains(address->host);
}

bool is_network(std::string_view text) {
  return parse_network(text).has_value();
}

bool is_rule_match(std::string_view text) {
  if (text.empty() || text.size() > 1024 || text.front() == '/' || text.back() == '/') return false;
  if (text.substr(0, text.find('/')).find('*') != std::string_view::npos) return false;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('/'));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    if (part.empty() || part == "." || part == ".." || part == "-") return false;
    if (std::ranges::any_of(part, is_control)) return false;
  }
  return true;
}

bool is_realm(std::string_view text) {
  return !text.empty() && text.size() <= 100 && std::ranges::all_of(text, [](char c) {
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
  });
}

}  // namespace weir::server
