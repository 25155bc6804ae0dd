#pragma once
// The version of this build, as shown in `weir --version`, the Server field, agent= and /v1/status.

#include <string_view>

namespace weir::server {

std::string_view version();    // "0.1.0"
std::string_view git_agent();  // "weir/0.1.0"

}  // namespace weir::server
