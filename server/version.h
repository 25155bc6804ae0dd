#pragma once
// The version of this build, as shown by `weir --version`, in agent= and in /v1/status.

#include <string_view>

namespace weir::server {

std::string_view version();    // "0.1.0"
std::string_view git_agent();  // "weir/0.1.0"

}  // namespace weir::server
