#include "io/child_sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string_view>

#include "io/check.h"

namespace weir::io {
namespace {

// Debian 12's headers end with the second version of Landlock.
constexpr int kVersionMin = 2, kVersionOfTruncate = 3, kVersionOfScopes = 6;
constexpr std::uint64_t kTruncate = 1ULL << 14;
constexpr std::uint64_t kScopeAbstractSockets = 1, kScopeSignals = 2;
struct RulesetAttributes {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};

constexpr std::uint64_t kRead =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kDevices = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
constexpr std::uint64_t kAllOfVersion2 = (LANDLOCK_ACCESS_FS_REFER << 1) - 1;
constexpr std::uint64_t kOfFiles = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
                                   LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;

bool beneath(std::string_view path, std::string_view folder) {
  return folder == "/" ||
         (path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/'));
}

class FileRules {
 public:
  explicit FileRules(int version) : all_(kAllOfVersion2) {
    if (version >= kVersionOfTruncate) all_ |= kTruncate;
    RulesetAttributes attributes{.handled_access_fs = all_, .handled_access_net = 0, .scoped = 0};
    // Signals to, and abstract sockets of, those outside; what is inside may kill its own.
    if (version >= kVersionOfScopes) attributes.scoped = kScopeAbstractSockets | kScopeSignals;
    ruleset_.reset(
        static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0U)));
    if (!ruleset_.valid()) error_ = errno;
  }

  void allow_reading(const std::string& path, const std::vector<std::string>& hidden) {
    if (std::ranges::none_of(hidden, [&](const auto& one) { return beneath(one, path); })) {
      return allow(path, kRead);
    }
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
    while (const dirent* entry = folder != nullptr ? readdir(folder.get()) : nullptr) {
      const std::string_view name = entry->d_name;
      const std::string inside = path + "/" + entry->d_name;
      if (name == "." || name == ".." || std::ranges::find(hidden, inside) != hidden.end())
        continue;
      allow_reading(inside, hidden);
    }
  }
  void allow_writing(const std::string& path) { allow(path, all_ & ~kDevices); }
  // A folder of the request: it must be there, and below the root.
  void allow_writing_below(int root, const std::string& relative) {
    open_how how{};
    how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    const UniqueFd folder(
        static_cast<int>(syscall(SYS_openat2, root, relative.c_str(), &how, sizeof how)));
    if (!folder.valid()) return note(errno);
    add(folder.get(), all_ & ~kDevices);
  }
  void note(int error) {
    if (error_ == 0) error_ = error;
  }
  Result<UniqueFd> take() {
    if (error_ != 0) return fail(Errc::system, "file rules", error_);
    return std::move(ruleset_);
  }

 private:
  void allow(const std::string& path, std::uint64_t rights) {
    const UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    struct stat status{};
    if (!fd.valid()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) note(errno);
      return;  // not there, or not for us: nor for the child
    }
    if (fstat(fd.get(), &status) != 0) return note(errno);
    add(fd.get(), S_ISDIR(status.st_mode) ? rights : rights & kOfFiles);
  }
  void add(int fd, std::uint64_t rights) {
    const landlock_path_beneath_attr rule{.allowed_access = rights & all_, .parent_fd = fd};
    if (error_ == 0 && syscall(SYS_landlock_add_rule, ruleset_.get(), LANDLOCK_RULE_PATH_BENEATH,
                               &rule, 0U) != 0) {
      note(errno);
    }
  }
  std::uint64_t all_;
  UniqueFd ruleset_;
  int error_ = 0;
};

}  // namespace

int landlock_version() {
  const long version =
      syscall(SYS_landlock_create_ruleset, nullptr, 0UL, LANDLOCK_CREATE_RULESET_VERSION);
  return version < kVersionMin ? 0 : static_cast<int>(version);
}

Result<ChildSandbox> ChildSandbox::make(SandboxPolicy policy) {
  std::vector<SyscallFilter> filters;
  if (SyscallFilter::available()) {
    const bool may_truncate = landlock_version() >= kVersionOfTruncate;
    auto readers = SyscallFilter::for_child(policy.readers.sockets, true, may_truncate);
    if (!readers) return std::unexpected(readers.error());
    auto writers = SyscallFilter::for_child(policy.writers.sockets, false, may_truncate);
    if (!writers) return std::unexpected(writers.error());
    filters.push_back(std::move(*readers));
    filters.push_back(std::move(*writers));
  }
  return ChildSandbox(std::move(policy), std::move(filters));
}

bool ChildSandbox::may_run(const std::string& program) const {
  return std::ranges::find(policy_.programs, program) != policy_.programs.end();
}

Result<UniqueFd> ChildSandbox::file_rules(const SubprocessSpec& spec) const {
  const int version = landlock_version();
  if (version == 0) return UniqueFd();
  const bool writes = spec.rights == ChildRights::read_write;
  const ChildReach& reach = writes ? policy_.writers : policy_.readers;
  FileRules rules(version);
  for (const std::string& path : reach.read_paths) rules.allow_reading(path, policy_.hidden_paths);
  for (const std::string& path : reach.write_paths) rules.allow_writing(path);
  if (!writes || spec.write_paths.empty()) return rules.take();
  const std::unique_ptr<char, void (*)(void*)> root(realpath(policy_.write_root.c_str(), nullptr),
                                                    free);
  if (root == nullptr) return fail_errno("root of writable folders");
  const UniqueFd root_fd(::open(root.get(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd.valid()) return fail_errno("root of writable folders");
  const std::string prefix =
      std::string_view(root.get()) == "/" ? "/" : root.get() + std::string("/");
  for (const std::string& path : spec.write_paths) {
    if (!path.starts_with(prefix)) return fail(Errc::system, "writable folder", EPERM);
    rules.allow_writing_below(root_fd.get(), path.substr(prefix.size()));
  }
  return rules.take();
}

const SyscallFilter* ChildSandbox::filter(ChildRights rights) const {
  if (filters_.empty()) return nullptr;
  return &filters_[rights == ChildRights::read_write ? 1 : 0];
}

int restrict_files(int rules_fd) {
  return syscall(SYS_landlock_restrict_self, rules_fd, 0U) == 0 ? 0 : errno;
}

Result<void> restrict_all_files() {
  const int version = landlock_version();
  if (version == 0) return {};
  const Result<UniqueFd> rules = FileRules(version).take();
  if (!rules) return std::unexpected(rules.error());
  const int refused = restrict_files(rules->get());
  if (refused != 0) return fail(Errc::system, "landlock", refused);
  return {};
}

}  // namespace weir::io
