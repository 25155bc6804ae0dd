#include "git/repository.h"

namespace weir::git {

std::string RepositoryId::to_hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
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
