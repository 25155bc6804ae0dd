#pragma once
// RepositoryWalk: the repositories below the root, found by their files. Blocking; no state. Stays
// in real folders (links are not followed), goes kFoldersDeepMax deep and looks at kFoldersMax
// folders. A folder that cannot be read is passed over.

#include <functional>
#include <string>

namespace weir::server {

inline constexpr int kFoldersDeepMax = 16;
inline constexpr std::size_t kFoldersMax = 1'000'000;

// Calls `visit` with "<tenant>/<path>" of each repository; false: the rest is not wanted.
// Returns whether all were visited.
bool walk_repositories(const std::string& root,
                       const std::function<bool(const std::string& name)>& visit);

}  // namespace weir::server
