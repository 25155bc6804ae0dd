#pragma once
// The arguments of the protocol v2 command ls-refs: gitprotocol-v2(5) "ls-refs". Sans-IO, stateless;
// rendering is RefSnapshot::ls_refs(). Bounded: from kLsRefsPrefixesMax prefixes on they are ignored,
// as git does (a superset is a legal answer).

#include <expected>
#include <string>
#include <string_view>

#include "git/ref_snapshot.h"

namespace weir::git {

inline constexpr std::size_t kLsRefsPrefixesMax = 65536;  // git's TOO_MANY_PREFIXES

// `arguments`: the packets after the delimiter, with the final flush. The error is a text for the
// user ("unexpected line: 'x'").
std::expected<LsRefsRequest, std::string> parse_ls_refs(std::string_view arguments);

}  // namespace weir::git
