// PROXY v2 headers: any bytes; a verdict, once given, must not change when more bytes come.

#include "io/proxy_protocol.h"

#include <cstdint>
#include <span>

#include "io/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using weir::io::ProxyHeader;
  using weir::io::ProxyStatus;
  const std::span<const std::uint8_t> all(data, bytes);
  ProxyHeader whole;
  const ProxyStatus verdict = weir::io::parse_proxy_v2(all, whole);
  if (verdict == ProxyStatus::complete) {
    WEIR_CHECK(whole.bytes >= 16 && whole.bytes <= bytes);
    WEIR_CHECK(whole.bytes <= weir::io::kProxyHeaderBytesMax);
  } else {
    WEIR_CHECK(whole.address.empty());
  }
  for (std::size_t cut = 0; cut < bytes && cut < 300; ++cut) {
    ProxyHeader part;
    const ProxyStatus early = weir::io::parse_proxy_v2(all.first(cut), part);
    WEIR_CHECK(early == ProxyStatus::need_more || early == verdict);
    if (early == ProxyStatus::complete) WEIR_CHECK(part.address == whole.address);
  }
  return 0;
}
