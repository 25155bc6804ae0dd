#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "git/fetch_request.h"

// Any bytes as a v0 upload request; what is accepted keeps the bounds.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace git = weir::git;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const git::ObjectFormat format : {git::ObjectFormat::sha1, git::ObjectFormat::sha256}) {
    const auto request = git::parse_v0_fetch(body, format);
    if (!request) continue;
    if (request->wants.empty() || request->wants.size() > git::kWantsMax) std::abort();
    if (request->haves.size() > git::kHavesMax) std::abort();
    if (request->deepen < 0 || request->deepen > git::kDepthMax) std::abort();
    for (const git::ObjectId& want : request->wants) {
      if (want.bytes != git::hash_bytes(format)) std::abort();
    }
  }
  return 0;
}
