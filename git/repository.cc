#include "git/repository.h"

#include "io/digest.h"

namespace weir::git {

std::string RepositoryId::to_hex() const {
  return io::to_hex(bytes);
}

std::vector<std::string> writable_folders(const Repository& repository) {
  std::vector<std::string> folders = {repository.git_dir};
  if (repository.common_dir != repository.git_dir) folders.push_back(repository.common_dir);
  constexpr std::string_view kInWorkTree = "/.git";
  if (repository.git_dir.ends_with(kInWorkTree)) {
    folders.push_back(repository.git_dir.substr(0, repository.git_dir.size() - kInWorkTree.size()));
  }
  return folders;
}

}  // namespace weir::git
