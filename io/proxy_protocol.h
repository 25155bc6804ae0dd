#pragma once
// The PROXY protocol, version 2: the binary header by which a load balancer names the client of a
// connection. Sans-IO: bytes in, one verdict out. Only TCP over IPv4 or IPv6 and LOCAL are taken;
// TLVs are skipped. Bounded: a header is at most kProxyHeaderBytesMax. Bytes that cannot become a
// header are refused as soon as that is certain.
// Format: haproxy.org, proxy-protocol.txt, section 2.2.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace weir::io {

inline constexpr std::size_t kProxyHeaderBytesMax = 4096;  // addresses 36, the rest room for TLVs

enum class ProxyStatus : std::uint8_t { need_more, complete, refused };

struct ProxyHeader {
  std::string address;  // numeric client address; empty: none named, keep the connection's
  std::uint16_t port = 0;
  std::size_t bytes = 0;     // of the whole header: what follows is the connection's own
  const char* problem = "";  // for `refused`; static
};

// `input` is everything received so far.
ProxyStatus parse_proxy_v2(std::span<const std::uint8_t> input, ProxyHeader& header);

}  // namespace weir::io
