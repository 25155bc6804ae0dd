#include <cstddef>
#include <cstdint>
#include <string_view>

#include "git/fetch_request.h"
#include "git/v2_request.h"

// Any bytes as a v2 request; the arguments of a sound one also as those of fetch and object-info.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace git = weir::git;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const git::ObjectFormat format : {git::ObjectFormat::sha1, git::ObjectFormat::sha256}) {
    const auto request = git::parse_v2_request(body, format);
    if (!request) continue;
    (void)git::parse_v2_fetch(request->arguments, format);
    (void)git::parse_object_info(request->arguments, format);
  }
  return 0;
}
