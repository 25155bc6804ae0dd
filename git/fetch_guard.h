#pragma once
// What `git upload-pack` would give beyond the wants that were checked. It trusts its client with
// more than it says: it unshallows whatever a client calls shallow, sends along tags that are
// hidden, takes the names of hidden refs, and lets a filter be any expression that finds an object.
// Here such parts of a request are refused or taken out before git reads it. Stateless; any thread.
// Sources: upload-pack.c (deepen(), receive_needs()), builtin/pack-objects.c (add_ref_tag()),
// list-objects-filter-options.c.

#include <span>
#include <string>
#include <string_view>

#include "git/ref_snapshot.h"

namespace weir::git {

inline constexpr std::size_t kFilterPartsMax = 8;  // of a combination; each looks at every object

// Filters by size, kind and depth, and combinations of them. Not sparse ones: they read an object
// that nobody checked, found by an expression that may search hidden history.
bool filter_served(std::string_view filter);

// Whether `name`, completed as git completes it, is a ref visible to fetches and no hidden one.
bool names_visible_ref(const RefSnapshot& snapshot, std::string_view name);

// Whether some ref below refs/tags/ may be hidden by these patterns.
bool may_hide_tags(std::span<const std::string> patterns);

// `body`, a checked request of that protocol version, as git is to read it. "All of history" is
// said by depth 2147483646 and "deepen-relative": git then asks what reaches each shallow line,
// which it does not for 2147483647. With `drop_include_tag` that word is left out; clients then ask
// for the tags they see.
std::string request_for_git(std::string_view body, int version, bool drop_include_tag);

}  // namespace weir::git
