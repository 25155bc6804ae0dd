#pragma once
// LayoutReport: how a repository lies on disk, why a clone of it is slow and what is due against
// it, as JSON for the admin socket. Blocking (pool threads); no state.

#include <string>
#include <string_view>

#include "io/error.h"

namespace weir::server {

// `name`: "<tenant>/<path>", escaped as in URLs. Errc::not_found: there is no git repository of
// that name below the root.
io::Result<std::string> layout_json(const std::string& root, std::string_view name);

}  // namespace weir::server
