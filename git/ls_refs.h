#pragma once
// The arguments of the protocol v2 command ls-refs: gitprotocol-v2(5) "ls-refs". Sans-IO,
// stateless; rendering is RefSnapshot::ls_refs(). Bounded: from kLsRefsPrefixesMax prefixes on they
// are ignored, as git does (a superset is a legal answer).

#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "git/ref_snapshot.h"

namespace weir::git {

inline constexpr std::size_t kLsRefsPrefixesMax = 65536;  // git's TOO_MANY_PREFIXES

// `arguments`: the texts of the packets between delimiter and flush (V2Request::arguments). The
// error is a text for the user ("unexpected line: 'x'").
std::expected<LsRefsRequest, std::string> parse_ls_refs(
    std::span<const std::string_view> arguments);

}  // namespace weir::git
