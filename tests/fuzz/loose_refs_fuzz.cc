// A loose ref file of any content: an id, a target that is a ref name, or broken.

#include <cstdint>
#include <string_view>

#include "git/loose_refs.h"
#include "git/ref_name.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  const std::string_view content(reinterpret_cast<const char*>(data), bytes);
  for (const auto format : {git::ObjectFormat::sha1, git::ObjectFormat::sha256}) {
    const git::LooseRef ref = git::parse_loose_ref("refs/x", content, format);
    WEIR_CHECK(ref.target.empty() || git::is_ref_name(ref.target));
    WEIR_CHECK(ref.id.bytes == 0 || ref.id.bytes == git::hash_bytes(format));
  }
  return 0;
}
