#pragma once
// The address a request is accounted to: the connection's peer (after PROXY v2), or, when that peer
// is a listed proxy, the right-most address in X-Forwarded-For that is not a listed proxy itself.
// Pure values; any thread. At most kForwardedHopsMax entries are looked at; a malformed entry ends
// the search at the hop before it, so that a client can never choose an address to be accounted to.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"

namespace weir::server {

inline constexpr int kForwardedHopsMax = 32;

// IPv4 is held as ::ffff:a.b.c.d, so that both spellings of one address are equal.
using AddressBytes = std::array<std::uint8_t, 16>;

// Numeric IPv4 or IPv6 without port or zone; nullopt for all else.
std::optional<AddressBytes> parse_address(std::string_view text);
bool is_ipv4(const AddressBytes& address);
// The canonical spelling: IPv4 dotted, IPv6 as in RFC 5952.
std::string to_string(const AddressBytes& address);

struct Network {
  AddressBytes address{};
  int prefix_bits = 128;  // of the 16 bytes
  bool contains(const AddressBytes& candidate) const;
};
// "10.0.0.0/8", "2001:db8::/32", or one address. Bits beyond the prefix must be zero.
std::optional<Network> parse_network(std::string_view text);

class Networks {
 public:
  Networks() = default;
  // Entries that do not parse are left out: the configuration has refused them before.
  explicit Networks(const std::vector<std::string>& texts);
  bool contains(std::string_view address) const;
  bool contains(const AddressBytes& address) const;
  bool empty() const { return networks_.empty(); }

 private:
  std::vector<Network> networks_;
};

std::string client_address(std::string_view peer, const http::RequestHead& head,
                           const Networks& proxies);

}  // namespace weir::server
