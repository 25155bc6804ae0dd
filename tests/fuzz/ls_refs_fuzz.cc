// Arguments of ls-refs from a hostile client.

#include <cstdint>
#include <string_view>

#include "git/ls_refs.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  const auto request =
      git::parse_ls_refs(std::string_view(reinterpret_cast<const char*>(data), bytes));
  WEIR_CHECK(request ? request->prefixes.size() < git::kLsRefsPrefixesMax
                     : !request.error().empty());
  return 0;
}
