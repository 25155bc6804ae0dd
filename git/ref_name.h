#pragma once
// Which names a ref may have: the rules of git-check-ref-format(1), for full names below refs/.
// Stateless; any thread.

#include <cstddef>
#include <string_view>

namespace weir::git {

// Longest name that is served: with hex ids and a symref target it always fits one pkt-line.
inline constexpr std::size_t kRefNameBytesMax = 8192;

// "refs/..." with two components or more, none of them malformed.
bool is_ref_name(std::string_view name);

}  // namespace weir::git
