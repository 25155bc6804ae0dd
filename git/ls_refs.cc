#include "git/ls_refs.h"

namespace weir::git {

std::expected<LsRefsRequest, std::string> parse_ls_refs(
    std::span<const std::string_view> arguments) {
  constexpr std::string_view kPrefix = "ref-prefix ";
  LsRefsRequest request;
  for (const std::string_view text : arguments) {
    if (text == "peel") {
      request.peel = true;
    } else if (text == "symrefs") {
      request.symrefs = true;
    } else if (text == "unborn") {
      request.unborn = true;
    } else if (text.starts_with(kPrefix)) {
      if (request.prefixes.size() < kLsRefsPrefixesMax) {
        request.prefixes.emplace_back(text.substr(kPrefix.size()));
      }
    } else {
      return std::unexpected("unexpected line: '" + std::string(text.substr(0, 200)) + "'");
    }
  }
  if (request.prefixes.size() >= kLsRefsPrefixesMax) request.prefixes.clear();
  return request;
}

}  // namespace weir::git
