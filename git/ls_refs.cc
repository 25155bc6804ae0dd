#include "git/ls_refs.h"

#include "git/pkt_line.h"

namespace weir::git {

std::expected<LsRefsRequest, std::string> parse_ls_refs(std::string_view arguments) {
  constexpr std::string_view kPrefix = "ref-prefix ";
  LsRefsRequest request;
  for (;;) {
    Pkt pkt;
    if (read_pkt(arguments, pkt) != PktStatus::complete || pkt.kind == PktKind::delim ||
        pkt.kind == PktKind::response_end) {
      return std::unexpected("expected flush after ls-refs arguments");
    }
    arguments.remove_prefix(pkt.bytes);
    if (pkt.kind == PktKind::flush) break;
    const std::string_view text = pkt_text(pkt);
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
