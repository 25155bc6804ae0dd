#include "io/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "io/unique_fd.h"

namespace weir::io {
namespace {

Result<void> write_draft(const std::string& draft, std::string_view text) {
  const UniqueFd fd(
      ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  // One that was there before may have another mode.
  if (!fd.valid() || ::fchmod(fd.get(), 0600) != 0) return fail_errno("open a draft");
  while (!text.empty()) {
    const ssize_t written = ::write(fd.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail_errno("write a draft");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(fd.get()) != 0) return fail_errno("sync a draft");
  return {};
}

}  // namespace

Result<void> write_durably(const std::string& path, std::string_view text) {
  const std::string draft = path + ".tmp";
  Result<void> written = write_draft(draft, text);
  if (written && ::rename(draft.c_str(), path.c_str()) != 0) {
    written = fail_errno("rename a draft");
  }
  if (written) return sync_folder(folder_of(path));
  ::unlink(draft.c_str());  // a full disk has room for empty files
  return written;
}

Result<void> make_folder_durably(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return sync_folder(folder_of(path));
  if (errno != EEXIST) return fail_errno("make a folder");
  return {};
}

Result<void> sync_folder(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return fail_errno("sync a folder");
  return {};
}

std::string folder_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

}  // namespace weir::io
