#include "server/repository_lookup.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string_view>

#include "io/digest.h"
#include "io/unique_fd.h"

namespace weir::server {
namespace {

using io::Result;
using io::UniqueFd;

constexpr std::size_t kPointerFileBytesMax = 4096;  // `.git` and `commondir` hold one path
constexpr int kRenameRetries = 8;                   // RESOLVE_BENEATH gives up on a racing rename

// An opened folder. fd < 0: there is none of that name, or not one that may be served.
struct Folder {
  UniqueFd fd;
  std::string real;  // absolute, without symlinks
  bool missing() const { return fd.get() < 0; }
};

std::int64_t to_ns(const statx_timestamp& time) {
  return time.tv_sec * 1'000'000'000 + static_cast<std::int64_t>(time.tv_nsec);
}

// Of errno: does it say that there is nothing (to be served), or that the disk did not answer?
bool means_missing(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EXDEV ||
         error == ENAMETOOLONG;
}

int open_folder(int base, const char* path, std::uint64_t resolve) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = resolve;
  for (int attempt = 0;; ++attempt) {
    const long fd = syscall(SYS_openat2, base, path, &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN || attempt == kRenameRetries) return static_cast<int>(fd);
  }
}

Result<std::string> real_path(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  std::array<char, PATH_MAX> buffer;
  const ssize_t length = readlink(link.c_str(), buffer.data(), buffer.size());
  if (length < 0) return io::fail_errno("read real path");
  return std::string(buffer.data(), static_cast<std::size_t>(length));
}

bool is_below(const std::string& root, std::string_view path) {
  const std::string prefix = root == "/" ? root : root + "/";
  return path.size() > prefix.size() && path.starts_with(prefix);
}

// After an open: the folder with its real path; missing if that is not below the root.
Result<Folder> checked(int opened, const std::string& root, const char* where) {
  Folder folder{UniqueFd(opened), {}};
  if (opened < 0) {
    if (means_missing(errno)) return folder;
    return io::fail_errno(where);
  }
  auto real = real_path(opened);
  if (!real) return std::unexpected(real.error());
  if (!is_below(root, *real)) return Folder{};
  folder.real = std::move(*real);
  return folder;
}

// What `path` (relative to `base`, or absolute) leads to, if that is a folder below the root.
Result<Folder> follow(const Folder& base, const std::string& path, const std::string& root) {
  return checked(openat(base.fd.get(), path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC), root,
                 "open folder of repository");
}

// Of the folder `path` below `base`; "" is `base` itself.
Result<FolderIdentity> identity_of(int base, const char* path, std::int64_t* changed_ns = nullptr) {
  struct statx status{};
  const int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  if (statx(base, path, flags, STATX_INO | STATX_BTIME | STATX_MTIME, &status) != 0) {
    return io::fail_errno("statx of repository");
  }
  if (changed_ns != nullptr) *changed_ns = to_ns(status.stx_mtime);
  const bool has_birth = (status.stx_mask & STATX_BTIME) != 0;
  return FolderIdentity{.device = makedev(status.stx_dev_major, status.stx_dev_minor),
                        .inode = status.stx_ino,
                        .birth_ns = has_birth ? to_ns(status.stx_btime) : 0};
}

enum class Entry : std::uint8_t { none, folder, file, link, other };

Result<Entry> entry_of(const Folder& folder, const char* name) {
  struct stat status{};
  if (fstatat(folder.fd.get(), name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (means_missing(errno)) return Entry::none;
    return io::fail_errno("stat in repository");
  }
  if (S_ISDIR(status.st_mode)) return Entry::folder;
  if (S_ISREG(status.st_mode)) return Entry::file;
  return S_ISLNK(status.st_mode) ? Entry::link : Entry::other;
}

// A small regular file, cut at kPointerFileBytesMax; "" if there is none.
Result<std::string> read_small_file(const Folder& folder, const char* name) {
  const UniqueFd file(
      openat(folder.fd.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0) {
    if (means_missing(errno) || errno == ENXIO) return std::string();
    return io::fail_errno("open file of repository");
  }
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return io::fail_errno("stat file of repository");
  if (!S_ISREG(status.st_mode)) return std::string();
  std::array<char, kPointerFileBytesMax> buffer;
  const ssize_t length = pread(file.get(), buffer.data(), buffer.size(), 0);
  if (length < 0) return io::fail_errno("read file of repository");
  return std::string(buffer.data(), static_cast<std::size_t>(length));
}

std::string without_line_end(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text.find('\0') == std::string::npos ? text : "";
}

// HEAD as git takes it for one: a symbolic ref into refs/, an object id, or an old link into refs/.
Result<bool> has_head(const Folder& folder) {
  const auto entry = entry_of(folder, "HEAD");
  if (!entry) return std::unexpected(entry.error());
  if (*entry == Entry::link) {
    std::array<char, 256> target;
    const ssize_t length = readlinkat(folder.fd.get(), "HEAD", target.data(), target.size());
    return length > 0 &&
           std::string_view(target.data(), static_cast<std::size_t>(length)).starts_with("refs/");
  }
  if (*entry != Entry::file) return false;
  const auto text = read_small_file(folder, "HEAD");
  if (!text) return std::unexpected(text.error());
  std::string_view head = *text;
  if (head.starts_with("ref:")) {
    head.remove_prefix(4);
    while (head.starts_with(' ') || head.starts_with('\t')) head.remove_prefix(1);
    return head.starts_with("refs/");
  }
  const std::size_t digits =
      std::min(head.find_first_not_of("0123456789abcdefABCDEF"), head.size());
  return digits == 40 || digits == 64;
}

// The folder that holds objects and refs, if `folder` is a git folder all of which is below the
// root.
Result<Folder> common_folder(const Folder& folder, const std::string& root) {
  const auto head = has_head(folder);
  if (!head) return std::unexpected(head.error());
  if (!*head) return Folder{};
  const auto commondir = entry_of(folder, "commondir");
  if (!commondir) return std::unexpected(commondir.error());
  std::string to_common = ".";
  if (*commondir != Entry::none) {
    auto text = read_small_file(folder, "commondir");
    if (!text) return std::unexpected(text.error());
    to_common = without_line_end(std::move(*text));
    if (to_common.empty()) return Folder{};
  }
  auto common = follow(folder, to_common, root);
  if (!common || common->missing()) return common;
  for (const char* part : {"objects", "refs"}) {
    const auto inside = follow(*common, part, root);
    if (!inside) return std::unexpected(inside.error());
    if (inside->missing()) return Folder{};
  }
  return common;
}

// What a folder's own `.git` leads to; missing if there is none.
Result<Folder> dot_git_folder(const Folder& folder, const std::string& root) {
  const auto entry = entry_of(folder, ".git");
  if (!entry) return std::unexpected(entry.error());
  if (*entry == Entry::folder || *entry == Entry::link) return follow(folder, ".git", root);
  if (*entry != Entry::file) return Folder{};
  auto text = read_small_file(folder, ".git");
  if (!text) return std::unexpected(text.error());
  constexpr std::string_view kKey = "gitdir: ";
  if (!text->starts_with(kKey)) return Folder{};
  const std::string target = without_line_end(text->substr(kKey.size()));
  if (target.empty()) return Folder{};
  return follow(folder, target, root);
}

// Whether things below this folder are inside a repository. Wider than what is served: a repository
// that is broken or leads out of the root hides what is in it all the same.
Result<bool> holds_repository(const Folder& folder) {
  std::array<Entry, 5> entries{};
  const std::array<const char*, 5> names{".git", ".hg", "HEAD", "objects", "refs"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto entry = entry_of(folder, names[i]);
    if (!entry) return std::unexpected(entry.error());
    entries[i] = *entry;
  }
  const auto has = [&](std::size_t i) { return entries[i] != Entry::none; };
  return has(0) || has(1) || (has(2) && has(3) && has(4));
}

// Any folder above `real`, and below the root, holds a repository.
Result<bool> inside_repository(int root_fd, const std::string& root, const std::string& real) {
  const std::size_t first = root == "/" ? 1 : root.size() + 1;
  for (std::size_t slash = real.find('/', first); slash != std::string::npos;
       slash = real.find('/', slash + 1)) {
    const std::string above = real.substr(first, slash - first);
    const auto folder =
        checked(open_folder(root_fd, above.c_str(), RESOLVE_BENEATH), root, "open folder above");
    if (!folder) return std::unexpected(folder.error());
    if (folder->missing()) return true;  // changed under us: not served this time
    const auto holds = holds_repository(*folder);
    if (!holds) return std::unexpected(holds.error());
    if (*holds) return true;
  }
  return false;
}

git::RepositoryId make_id(const FolderIdentity& git_dir, const FolderIdentity& common_dir) {
  std::string text = "repository";
  for (const FolderIdentity& one : {git_dir, common_dir}) {
    for (const std::uint64_t value :
         {one.device, one.inode, static_cast<std::uint64_t>(one.birth_ns)}) {
      text += ' ' + std::to_string(value);
    }
  }
  git::RepositoryId id;
  const io::Sha256Digest digest = io::sha256(text);
  std::copy_n(digest.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

Result<void> add_check(Lookup& lookup, const Folder& folder) {
  for (const LookupCheck& check : lookup.checks) {
    if (check.path == folder.real) return {};
  }
  const auto identity = identity_of(folder.fd.get(), "");
  if (!identity) return std::unexpected(identity.error());
  lookup.checks.push_back({.path = folder.real, .identity = *identity});
  return {};
}

// Fills in lookup.location if `folder` holds a repository of either kind.
Result<void> inspect(const Folder& folder, const std::string& root, const std::string& name,
                     Lookup& lookup) {
  const Folder* git_folder = &folder;
  auto common = common_folder(folder, root);
  if (!common) return std::unexpected(common.error());
  Folder dot_git;
  if (common->missing()) {
    auto inner = dot_git_folder(folder, root);
    if (!inner) return std::unexpected(inner.error());
    if (!inner->missing()) {
      dot_git = std::move(*inner);
      git_folder = &dot_git;
      common = common_folder(dot_git, root);
      if (!common) return std::unexpected(common.error());
    }
  }
  if (common->missing()) {
    const auto mercurial = entry_of(folder, ".hg");
    if (!mercurial) return std::unexpected(mercurial.error());
    if (*mercurial == Entry::folder) lookup.location.kind = RepositoryKind::mercurial;
    return {};
  }
  const auto git_identity = identity_of(git_folder->fd.get(), "");
  if (!git_identity) return std::unexpected(git_identity.error());
  const auto common_identity = identity_of(common->fd.get(), "");
  if (!common_identity) return std::unexpected(common_identity.error());
  for (const Folder* part : {git_folder, static_cast<const Folder*>(&*common)}) {
    if (const auto added = add_check(lookup, *part); !added) return added;
  }
  auto repository = std::make_shared<git::Repository>();
  repository->id = make_id(*git_identity, *common_identity);
  repository->name = name;
  repository->git_dir = git_folder->real;
  repository->common_dir = common->real;
  lookup.location = {.kind = RepositoryKind::git, .repository = std::move(repository)};
  return {};
}

// "site" and "site.git" are two spellings of one name; the one asked for comes first.
std::vector<std::string> candidates(const std::string& tenant, const std::string& path) {
  const std::string name = tenant + "/" + path;
  if (!path.ends_with(".git")) return {name, name + ".git"};
  const std::string stem = name.substr(0, name.size() - 4);
  if (stem.ends_with('/')) return {name};
  return {name, stem};
}

}  // namespace

Result<Lookup> look_up_repository(const std::string& root, const std::string& tenant,
                                  const std::string& path) {
  const UniqueFd root_fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root_fd.get() < 0) return io::fail(io::Errc::unavailable, "open root", errno);
  const auto real_root = real_path(root_fd.get());
  if (!real_root) return std::unexpected(real_root.error());

  Lookup lookup;
  for (const std::string& candidate : candidates(tenant, path)) {
    // Where the name led through a link, the name as asked for is checked again, not only the
    // target.
    LookupCheck check{.path = *real_root + "/" + candidate};
    auto folder = checked(open_folder(root_fd.get(), candidate.c_str(), RESOLVE_BENEATH),
                          *real_root, "open repository");
    if (!folder) return std::unexpected(folder.error());
    if (folder->missing()) {
      check.absent = true;
      lookup.checks.push_back(std::move(check));
      continue;
    }
    const auto identity = identity_of(folder->fd.get(), "", &check.changed_ns);
    if (!identity) return std::unexpected(identity.error());
    check.identity = *identity;
    const auto inside = inside_repository(root_fd.get(), *real_root, folder->real);
    if (!inside) return std::unexpected(inside.error());
    if (!*inside) {
      const auto inspected = inspect(*folder, *real_root, tenant + "/" + path, lookup);
      if (!inspected) return std::unexpected(inspected.error());
    }
    if (lookup.location.kind != RepositoryKind::missing) {
      check.changed_ns = 0;  // files come and go in a repository
      std::erase_if(lookup.checks, [&](const LookupCheck& c) { return c.path == check.path; });
      lookup.checks.push_back(std::move(check));
      return lookup;
    }
    lookup.checks.push_back(std::move(check));
  }
  lookup.checks.clear();
  return lookup;
}

// One statx a folder: the names were resolved seconds ago, so the kernel still has them in memory.
// A folder that was exchanged, for a link out of the root too, is another inode.
bool still_there(const Lookup& lookup) {
  for (const LookupCheck& check : lookup.checks) {
    std::int64_t changed_ns = 0;
    const auto identity = identity_of(AT_FDCWD, check.path.c_str(), &changed_ns);
    if (!identity) {
      if (check.absent && identity.error().sys_errno == ENOENT) continue;
      return false;
    }
    if (check.absent || *identity != check.identity) return false;
    if (check.changed_ns != 0 && check.changed_ns != changed_ns) return false;
  }
  return !lookup.checks.empty();
}

}  // namespace weir::server
