#include "git/loose_refs.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "git/ref_name.h"

namespace weir::git {
namespace {

// Refs of a linked worktree's own: gitrepository-layout(5).
constexpr std::array<std::string_view, 3> kWorktreeRefs = {"refs/bisect", "refs/rewritten",
                                                           "refs/worktree"};

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

class Reader {
 public:
  Reader(const Repository& repository, ObjectFormat format, FileStamps& stamps)
      : repository_(repository), format_(format), stamps_(stamps) {}

  io::Result<LooseRefs> read() {
    const bool linked = repository_.git_dir != repository_.common_dir;
    auto head = read_file(AT_FDCWD, repository_.git_dir + "/HEAD", "HEAD");
    if (!head) return std::unexpected(head.error());
    result_.head = head->value_or(LooseRef{});
    linked_ = linked;
    if (auto ok = read_directory(repository_.common_dir, "refs", 0); !ok) {
      return std::unexpected(ok.error());
    }
    if (linked) {
      linked_ = false;
      for (const std::string_view name : kWorktreeRefs) {
        auto ok = read_directory(repository_.git_dir, std::string(name), 0);
        if (!ok && ok.error().code != io::Errc::not_found) return std::unexpected(ok.error());
      }
    }
    std::ranges::sort(result_.refs, {}, &LooseRef::name);
    return std::move(result_);
  }

 private:
  // `name`: "refs" or deeper.
  io::Result<void> read_directory(const std::string& root, const std::string& name, int depth) {
    std::string path = root + "/" + name;
    if (depth > kLooseRefDepthMax || ++count_ > kLooseRefsMax) {
      return io::fail(io::Errc::limit, "loose refs");
    }
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct stat status;
    if (fd < 0) {
      if (errno != ENOENT) return io::fail_errno("open refs directory");
      stamps_.add(std::move(path), {});
      return io::fail(io::Errc::not_found, "refs directory");
    }
    const bool ok = fstat(fd, &status) == 0;
    const std::unique_ptr<DIR, DirCloser> dir(::fdopendir(fd));
    if (!ok || dir == nullptr) return io::fail_errno("read refs directory");
    stamps_.add(path, FileStamp::of(status));

    std::vector<std::string> below;
    for (;;) {
      errno = 0;
      const dirent* const entry = ::readdir(dir.get());
      if (entry == nullptr) break;
      const std::string_view file = entry->d_name;
      if (file.starts_with('.') || file.ends_with(".lock")) continue;
      if (++count_ > kLooseRefsMax) return io::fail(io::Errc::limit, "loose refs");
      std::string full = name + "/";
      full += file;
      if (linked_ && std::ranges::find(kWorktreeRefs, full) != kWorktreeRefs.end()) continue;
      bool is_directory = entry->d_type == DT_DIR;
      if (entry->d_type == DT_UNKNOWN) {
        is_directory = fstatat(fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                       S_ISDIR(status.st_mode);
      }
      if (is_directory) {
        below.push_back(std::move(full));
        continue;
      }
      auto ref = read_file(fd, root + "/" + full, full);
      if (!ref) return std::unexpected(ref.error());
      if (!ref->has_value()) continue;  // deleted since the directory was read
      if ((*ref)->broken()) ++result_.broken;
      if (is_ref_name(full)) result_.refs.push_back(std::move(**ref));
    }
    if (errno != 0) return io::fail_errno("read refs directory");
    for (const std::string& directory : below) {
      auto done = read_directory(root, directory, depth + 1);
      if (!done && done.error().code != io::Errc::not_found) return done;
    }
    return {};
  }

  // nullopt: there is no such file.
  io::Result<std::optional<LooseRef>> read_file(int directory, std::string path,
                                                const std::string& name) {
    const char* const base =
        directory == AT_FDCWD ? path.c_str() : path.c_str() + path.rfind('/') + 1;
    const int fd = ::openat(directory, base, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ELOOP) return read_link(directory, base, path, name);
    if (fd < 0) {
      const bool gone = errno == ENOENT || errno == ENOTDIR;
      // Sockets and such have no content.
      if (!gone && errno != ENXIO && errno != EISDIR) return io::fail_errno("open loose ref");
      stamps_.add(path, FileStamp::of_path(path.c_str(), false));
      return gone ? std::optional<LooseRef>{} : LooseRef{name, {}, {}};
    }
    struct stat status;
    std::array<char, kLooseRefBytesMax + 1> buffer;
    ssize_t bytes = -1;
    if (fstat(fd, &status) == 0) {
      stamps_.add(std::move(path), FileStamp::of(status));
      bytes = S_ISREG(status.st_mode) ? ::pread(fd, buffer.data(), buffer.size(), 0) : 0;
    }
    const int error = errno;
    ::close(fd);
    if (bytes < 0) return io::fail(io::Errc::system, "read loose ref", error);
    return parse_loose_ref(name, {buffer.data(), static_cast<std::size_t>(bytes)}, format_);
  }

  // A symbolic link "refs/..." is the oldest form of a symbolic ref.
  io::Result<std::optional<LooseRef>> read_link(int directory, const char* base,
                                                const std::string& path, const std::string& name) {
    stamps_.add(path, FileStamp::of_path(path.c_str(), false));
    std::array<char, kLooseRefBytesMax> buffer;
    const ssize_t bytes = ::readlinkat(directory, base, buffer.data(), buffer.size());
    // Else it is gone, or something else by now: the next look will tell.
    if (bytes < 0 && errno != ENOENT && errno != EINVAL)
      return io::fail_errno("read symbolic link");
    LooseRef ref{name, {}, {}};
    if (bytes > 0) {
      const std::string_view target(buffer.data(), static_cast<std::size_t>(bytes));
      if (is_ref_name(target)) ref.target = target;
    }
    return ref;
  }

  const Repository& repository_;
  const ObjectFormat format_;
  FileStamps& stamps_;
  bool linked_ = false;
  std::size_t count_ = 0;
  LooseRefs result_;
};

}  // namespace

LooseRef parse_loose_ref(std::string_view name, std::string_view content, ObjectFormat format) {
  LooseRef ref{std::string(name), {}, {}};
  if (content.size() > kLooseRefBytesMax) return ref;
  while (!content.empty() && is_space(content.back())) content.remove_suffix(1);
  if (content.starts_with("ref:")) {
    content.remove_prefix(4);
    while (!content.empty() && is_space(content.front())) content.remove_prefix(1);
    if (is_ref_name(content)) ref.target = content;
    return ref;
  }
  const std::size_t hex = 2 * hash_bytes(format);
  if (content.size() < hex || (content.size() > hex && !is_space(content[hex]))) return ref;
  const auto id = ObjectId::from_hex(content.substr(0, hex));
  if (id && !id->is_null()) ref.id = *id;
  return ref;
}

io::Result<LooseRefs> read_loose_refs_blocking(const Repository& repository, ObjectFormat format,
                                               FileStamps& stamps) {
  return Reader(repository, format, stamps).read();
}

}  // namespace weir::git
