#include "server/client_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace weir::server {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// An element of X-Forwarded-For: an address, "a.b.c.d:port" or "[v6]" with or without ":port".
std::optional<AddressBytes> parse_hop(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && (rest[0] != ':' || !is_port(rest.substr(1)))) return std::nullopt;
    const auto address = parse_address(text.substr(1, close - 1));
    return address && !is_ipv4(*address) ? address : std::nullopt;
  }
  if (std::ranges::count(text, ':') == 1) {
    const std::size_t colon = text.find(':');
    if (!is_port(text.substr(colon + 1))) return std::nullopt;
    text = text.substr(0, colon);
  }
  return parse_address(text);
}

}  // namespace

std::optional<AddressBytes> parse_address(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof buffer) return std::nullopt;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  if (std::strlen(buffer) != text.size()) return std::nullopt;
  AddressBytes address{};
  in_addr v4{};
  if (inet_pton(AF_INET, buffer, &v4) == 1) {
    std::ranges::copy(kMappedPrefix, address.begin());
    std::memcpy(address.data() + kMappedPrefix.size(), &v4, sizeof v4);
    return address;
  }
  if (inet_pton(AF_INET6, buffer, address.data()) == 1) return address;
  return std::nullopt;
}

bool is_ipv4(const AddressBytes& address) {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), address.begin());
}

std::string to_string(const AddressBytes& address) {
  char buffer[INET6_ADDRSTRLEN] = "";
  if (is_ipv4(address)) {
    inet_ntop(AF_INET, address.data() + kMappedPrefix.size(), buffer, sizeof buffer);
  } else {
    inet_ntop(AF_INET6, address.data(), buffer, sizeof buffer);
  }
  return buffer;
}

bool Network::contains(const AddressBytes& candidate) const {
  for (int bit = 0; bit < prefix_bits; bit += 8) {
    const auto index = static_cast<std::size_t>(bit / 8);
    const int wanted = std::min(8, prefix_bits - bit);
    const int difference = address[index] ^ candidate[index];
    if ((difference >> (8 - wanted)) != 0) return false;
  }
  return true;
}

std::optional<Network> parse_network(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto address = parse_address(text.substr(0, slash));
  if (!address) return std::nullopt;
  Network network{*address, 128};
  if (slash != std::string_view::npos) {
    const std::string_view bits = text.substr(slash + 1);
    const bool mapped = is_ipv4(*address) && text.find(':') == std::string_view::npos;
    const int bits_max = mapped ? 32 : 128;
    int value = -1;
    const auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), value);
    if (error != std::errc{} || end != bits.data() + bits.size() || value < 0 || value > bits_max) {
      return std::nullopt;
    }
    network.prefix_bits = mapped ? 96 + value : value;
  }
  for (int bit = network.prefix_bits; bit < 128; ++bit) {
    const int mask = 0x80 >> (bit % 8);
    if ((network.address[static_cast<std::size_t>(bit / 8)] & mask) != 0) return std::nullopt;
  }
  return network;
}

Networks::Networks(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    if (const auto network = parse_network(text)) networks_.push_back(*network);
  }
}

bool Networks::contains(const AddressBytes& address) const {
  return std::ranges::any_of(networks_, [&](const Network& n) { return n.contains(address); });
}

bool Networks::contains(std::string_view address) const {
  const auto parsed = parse_address(address);
  return parsed && contains(*parsed);
}

std::string client_address(std::string_view peer, const http::RequestHead& head,
                           const Networks& proxies) {
  // Nobody's word counts, and dotted addresses have one spelling: the usual case.
  if (proxies.empty() && peer.find(':') == std::string_view::npos) return std::string(peer);
  const auto parsed = parse_address(peer);
  if (!parsed) return std::string(peer);
  AddressBytes current = *parsed;
  int hops = 0;
  // Fields and their elements from the right: what the nearest proxy wrote comes last.
  for (std::size_t i = head.fields.size(); i-- > 0;) {
    const http::Field& field = head.fields[i];
    if (!http::equals_ignoring_case(field.name, "x-forwarded-for")) continue;
    std::string_view rest = field.value;
    while (true) {
      if (!proxies.contains(current) || hops++ == kForwardedHopsMax) return to_string(current);
      const std::size_t comma = rest.rfind(',');
      const bool first = comma == std::string_view::npos;
      const auto hop = parse_hop(trim(first ? rest : rest.substr(comma + 1)));
      if (!hop) return to_string(current);
      current = *hop;
      if (first) break;
      rest = rest.substr(0, comma);
    }
  }
  return to_string(current);
}

}  // namespace weir::server
