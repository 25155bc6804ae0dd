#include "io/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace weir::io {
namespace {

constexpr int kContentSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

}  // namespace

Result<UniqueFd> make_sealed_memory_file(const char* name, std::string_view content) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fail_errno("memfd");
  while (!content.empty()) {
    const ssize_t n = ::write(fd.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("write to a memfd");
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  if (fcntl(fd.get(), F_ADD_SEALS, kContentSeals | F_SEAL_SEAL) != 0) {
    return fail_errno("seal a memfd");
  }
  return fd;
}

Result<std::uint64_t> sealed_memory_bytes(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  struct stat status;
  if (seals < 0 || (seals & kContentSeals) != kContentSeals || fstat(fd, &status) != 0 ||
      !S_ISREG(status.st_mode)) {
    return fail(Errc::invalid, "no sealed memory file");
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<std::string> read_sealed_memory_file(int fd, std::uint64_t bytes_max) {
  const Result<std::uint64_t> bytes = sealed_memory_bytes(fd);
  if (!bytes) return std::unexpected(bytes.error());
  if (*bytes > bytes_max) return fail(Errc::limit, "a memory file is too long");
  std::string content(*bytes, '\0');
  for (std::size_t at = 0; at < content.size();) {
    const ssize_t n = ::pread(fd, content.data() + at, content.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno("read a memory file");
    at += static_cast<std::size_t>(n);
  }
  return content;
}

}  // namespace weir::io
