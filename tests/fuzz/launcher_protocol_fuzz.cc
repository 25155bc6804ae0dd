// The launcher's messages: whatever is accepted encodes to the same bytes again.
#include "io/launcher_protocol.h"

#include <algorithm>

#include "io/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> bytes(data, size);
  if (const auto request = weir::io::decode_request(bytes)) {
    const auto again = weir::io::encode(*request);
    WEIR_CHECK(again.has_value());
    WEIR_CHECK(std::ranges::equal(*again, bytes));
  }
  if (const auto reply = weir::io::decode_reply(bytes)) {
    WEIR_CHECK(std::ranges::equal(weir::io::encode(*reply), bytes));
  }
  return 0;
}
