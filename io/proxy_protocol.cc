#include "io/proxy_protocol.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

namespace weir::io {
namespace {

constexpr std::array<std::uint8_t, 12> kSignature = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                     0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
constexpr std::size_t kFixedBytes = 16;
constexpr std::uint8_t kLocal = 0x20;
constexpr std::uint8_t kProxy = 0x21;
constexpr std::uint8_t kUnspecified = 0x00;
constexpr std::uint8_t kTcp4 = 0x11;
constexpr std::uint8_t kTcp6 = 0x21;

ProxyStatus refuse(ProxyHeader& header, const char* problem) {
  header.problem = problem;
  return ProxyStatus::refused;
}

std::uint16_t big_endian16(std::span<const std::uint8_t> bytes) {
  return static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]);
}

}  // namespace

ProxyStatus parse_proxy_v2(std::span<const std::uint8_t> input, ProxyHeader& header) {
  header = {};
  const std::size_t compared = std::min(input.size(), kSignature.size());
  if (!std::equal(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(compared),
                  kSignature.begin())) {
    return refuse(header, "no PROXY v2 signature");
  }
  if (input.size() > 12 && input[12] != kLocal && input[12] != kProxy) {
    return refuse(header, "PROXY version or command unknown");
  }
  if (input.size() < kFixedBytes) return ProxyStatus::need_more;

  const std::uint8_t family = input[13];
  const std::size_t length = big_endian16(input.subspan(14));
  if (kFixedBytes + length > kProxyHeaderBytesMax) return refuse(header, "PROXY header too long");
  // LOCAL is the balancer's own connection, UNSPEC one whose client it does not know: the receiver
  // must take both and ignore the addresses.
  const bool named = input[12] == kProxy && family != kUnspecified;
  if (named && family != kTcp4 && family != kTcp6) {
    return refuse(header, "PROXY address family not TCP over IPv4 or IPv6");
  }
  const std::size_t address_bytes = family == kTcp4 ? 4 : 16;
  if (named && length < 2 * address_bytes + 4) {
    return refuse(header, "PROXY header too short for its addresses");
  }
  if (input.size() < kFixedBytes + length) return ProxyStatus::need_more;

  header.bytes = kFixedBytes + length;
  if (!named) return ProxyStatus::complete;
  const std::span<const std::uint8_t> addresses = input.subspan(kFixedBytes, length);
  char text[INET6_ADDRSTRLEN];
  inet_ntop(family == kTcp4 ? AF_INET : AF_INET6, addresses.data(), text, sizeof text);
  header.address = text;
  header.port = big_endian16(addresses.subspan(2 * address_bytes));
  return ProxyStatus::complete;
}

}  // namespace weir::io
