// Arguments of ls-refs from a hostile client.

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "git/ls_refs.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  std::string_view rest(reinterpret_cast<const char*>(data), bytes);
  std::vector<std::string_view> arguments;  // one a line
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    arguments.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const auto request = git::parse_ls_refs(arguments);
  WEIR_CHECK(request ? request->prefixes.size() < git::kLsRefsPrefixesMax
                     : !request.error().empty());
  return 0;
}
