#include "server/repository_walk.h"

#include <algorithm>
#include <filesystem>
#include <vector>

namespace weir::server {
namespace {

namespace fs = std::filesystem;

bool is_repository(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / ".git", error) || fs::exists(folder / ".hg", error) ||
         (fs::exists(folder / "HEAD", error) && fs::exists(folder / "objects", error));
}

}  // namespace

bool walk_repositories(const std::string& root,
                       const std::function<bool(const std::string&)>& visit) {
  struct Waiting {
    std::string name;  // below the root
    int deep;
  };
  std::vector<Waiting> waiting = {{"", 0}};
  std::size_t looked_at = 0;
  while (!waiting.empty()) {
    const Waiting at = waiting.back();
    waiting.pop_back();
    if (++looked_at > kFoldersMax) return false;
    const fs::path folder = fs::path(root) / at.name;
    if (at.deep >= 2 && is_repository(folder)) {
      if (!visit(at.name)) return false;
      continue;
    }
    if (at.deep == kFoldersDeepMax) continue;
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
      std::error_code unknown;
      if (!entry->is_directory(unknown) || entry->is_symlink(unknown)) continue;
      names.push_back(entry->path().filename().string());
    }
    std::ranges::sort(names, std::greater<>());  // visited in order
    for (std::string& name : names) {
      waiting.push_back({at.name.empty() ? std::move(name) : at.name + "/" + name, at.deep + 1});
    }
  }
  return true;
}

}  // namespace weir::server
