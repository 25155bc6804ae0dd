// fault_shim: lets file calls of the program it is loaded into fail, as a disk that dies would let
// them. Which ones is read at every call from the file "faults" beside this library, so that a test
// can switch faults on and off while everything runs; without that file nothing fails. A line of
// it:
//   <open|read|write|sync|change> <errno> <part of the path>
// "read" is also the mapping of a file, "change" is rename, link, unlink and mkdir. Calls that the
// C library makes inside itself (fopen, opendir) are not seen.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

struct Text {
  std::array<char, 8192> bytes;
  std::size_t size = 0;

  void add(std::string_view more) {
    for (const char c : more) {
      if (size < bytes.size() - 1) bytes[size++] = c;
    }
    bytes[size] = 0;
  }
  void add_link(const char* path) {
    const long got = syscall(SYS_readlink, path, bytes.data() + size, bytes.size() - 1 - size);
    if (got > 0) size += static_cast<std::size_t>(got);
    bytes[size] = 0;
  }
  void add_descriptor(int fd) {
    std::array<char, 40> link;
    char* at = link.data() + link.size() - 1;
    *at = 0;
    do {
      *--at = static_cast<char>('0' + fd % 10);
      fd /= 10;
    } while (fd > 0);
    constexpr std::string_view kFolder = "/proc/self/fd/";
    at -= kFolder.size();
    kFolder.copy(at, kFolder.size());
    add_link(at);
  }
  std::string_view view() const { return {bytes.data(), size}; }
};

bool read_rules(Text& rules) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&read_rules), &info) == 0) return false;
  std::string_view own = info.dli_fname;
  Text path;
  path.add(own.substr(0, own.rfind('/') + 1));
  path.add("faults");
  const long fd = syscall(SYS_openat, AT_FDCWD, path.bytes.data(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const long got = syscall(SYS_read, fd, rules.bytes.data(), rules.bytes.size() - 1);
  syscall(SYS_close, fd);
  rules.size = got > 0 ? static_cast<std::size_t>(got) : 0;
  rules.bytes[rules.size] = 0;
  return rules.size > 0;
}

// The error that this operation on this path is to have; 0: none.
int fault(std::string_view operation, std::string_view path, const Text& rules) {
  std::string_view rest = rules.view();
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : line.size());
    const std::size_t first = line.find(' ');
    const std::size_t second = line.find(' ', first + 1);
    if (second == line.npos || line.substr(0, first) != operation) continue;
    if (path.find(line.substr(second + 1)) == path.npos) continue;
    return std::atoi(line.data() + first + 1);
  }
  return 0;
}

bool fails(std::string_view operation, int directory, const char* path) {
  const int before = errno;
  Text rules, full;
  if (!read_rules(rules)) {
    errno = before;
    return false;
  }
  if (path[0] != '/') {
    if (directory == AT_FDCWD) {
      full.add_link("/proc/self/cwd");
    } else {
      full.add_descriptor(directory);
    }
    full.add("/");
  }
  // git writes <folder>/./refs/...
  for (std::string_view rest = path; !rest.empty();) {
    const std::string_view part = rest.substr(0, std::min(rest.find('/'), rest.size() - 1) + 1);
    if (part != "./") full.add(part);
    rest.remove_prefix(part.size());
  }
  const int error = fault(operation, full.view(), rules);
  errno = error != 0 ? error : before;
  return error != 0;
}

bool fails(std::string_view operation, int fd) {
  const int before = errno;
  Text rules, full;
  int error = 0;
  if (fd >= 0 && read_rules(rules)) {
    full.add_descriptor(fd);
    error = fault(operation, full.view(), rules);
  }
  errno = error != 0 ? error : before;
  return error != 0;
}

int open_at(int directory, const char* path, int flags, mode_t mode) {
  if (fails("open", directory, path)) return -1;
  return static_cast<int>(syscall(SYS_openat, directory, path, flags, mode));
}

mode_t mode_of(int flags, va_list arguments) {
  const bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return makes ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

#define WEIR_SHIM extern "C" __attribute__((visibility("default")))
// The signatures are the C library's.
// NOLINTBEGIN
#define WEIR_OPEN(name)                                  \
  WEIR_SHIM int name(const char* path, int flags, ...) { \
    va_list arguments;                                   \
    va_start(arguments, flags);                          \
    const mode_t mode = mode_of(flags, arguments);       \
    va_end(arguments);                                   \
    return open_at(AT_FDCWD, path, flags, mode);         \
  }
#define WEIR_OPENAT(name)                                               \
  WEIR_SHIM int name(int directory, const char* path, int flags, ...) { \
    va_list arguments;                                                  \
    va_start(arguments, flags);                                         \
    const mode_t mode = mode_of(flags, arguments);                      \
    va_end(arguments);                                                  \
    return open_at(directory, path, flags, mode);                       \
  }
WEIR_OPEN(open)
WEIR_OPEN(open64)
WEIR_OPENAT(openat)
WEIR_OPENAT(openat64)
WEIR_SHIM int __open_2(const char* path, int flags) {
  return open_at(AT_FDCWD, path, flags, 0);
}
WEIR_SHIM int __open64_2(const char* path, int flags) {
  return open_at(AT_FDCWD, path, flags, 0);
}
WEIR_SHIM int __openat_2(int directory, const char* path, int flags) {
  return open_at(directory, path, flags, 0);
}
WEIR_SHIM int __openat64_2(int directory, const char* path, int flags) {
  return open_at(directory, path, flags, 0);
}

WEIR_SHIM ssize_t read(int fd, void* bytes, size_t size) {
  return fails("read", fd) ? -1 : syscall(SYS_read, fd, bytes, size);
}
WEIR_SHIM ssize_t __read_chk(int fd, void* bytes, size_t size, size_t) {
  return read(fd, bytes, size);
}
WEIR_SHIM ssize_t pread(int fd, void* bytes, size_t size, off_t at) {
  return fails("read", fd) ? -1 : syscall(SYS_pread64, fd, bytes, size, at);
}
WEIR_SHIM ssize_t pread64(int fd, void* bytes, size_t size, off_t at) {
  return pread(fd, bytes, size, at);
}
WEIR_SHIM ssize_t __pread_chk(int fd, void* bytes, size_t size, off_t at, size_t) {
  return pread(fd, bytes, size, at);
}
WEIR_SHIM ssize_t __pread64_chk(int fd, void* bytes, size_t size, off_t at, size_t) {
  return pread(fd, bytes, size, at);
}
WEIR_SHIM void* mmap(void* where, size_t size, int protection, int flags, int fd, off_t at) {
  if ((flags & MAP_ANONYMOUS) == 0 && fails("read", fd)) return MAP_FAILED;
  return reinterpret_cast<void*>(syscall(SYS_mmap, where, size, protection, flags, fd, at));
}
WEIR_SHIM void* mmap64(void* where, size_t size, int protection, int flags, int fd, off_t at) {
  return mmap(where, size, protection, flags, fd, at);
}

WEIR_SHIM ssize_t write(int fd, const void* bytes, size_t size) {
  return fails("write", fd) ? -1 : syscall(SYS_write, fd, bytes, size);
}
WEIR_SHIM ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  return fails("write", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, size, at);
}
WEIR_SHIM ssize_t pwrite64(int fd, const void* bytes, size_t size, off_t at) {
  return pwrite(fd, bytes, size, at);
}

WEIR_SHIM int fsync(int fd) {
  return fails("sync", fd) ? -1 : static_cast<int>(syscall(SYS_fsync, fd));
}
WEIR_SHIM int fdatasync(int fd) {
  return fails("sync", fd) ? -1 : static_cast<int>(syscall(SYS_fdatasync, fd));
}
WEIR_SHIM int syncfs(int fd) {
  return fails("sync", fd) ? -1 : static_cast<int>(syscall(SYS_syncfs, fd));
}

WEIR_SHIM int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  if (fails("change", to_directory, to)) return -1;
  return static_cast<int>(syscall(SYS_renameat, from_directory, from, to_directory, to));
}
WEIR_SHIM int rename(const char* from, const char* to) {
  return renameat(AT_FDCWD, from, AT_FDCWD, to);
}
WEIR_SHIM int link(const char* from, const char* to) {
  if (fails("change", AT_FDCWD, to)) return -1;
  return static_cast<int>(syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}
WEIR_SHIM int unlinkat(int directory, const char* path, int flags) {
  if (fails("change", directory, path)) return -1;
  return static_cast<int>(syscall(SYS_unlinkat, directory, path, flags));
}
WEIR_SHIM int unlink(const char* path) {
  return unlinkat(AT_FDCWD, path, 0);
}
WEIR_SHIM int mkdir(const char* path, mode_t mode) {
  if (fails("change", AT_FDCWD, path)) return -1;
  return static_cast<int>(syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
// NOLINTEND
