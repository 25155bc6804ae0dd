#include "server/confinement.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "io/log.h"
#include "io/metrics.h"
#include "io/syscall_filter.h"

namespace weir::server {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrograms[] = {"/usr",   "/bin",   "/sbin",   "/lib",
                                          "/lib32", "/lib64", "/libx32", "/opt"};
constexpr std::string_view kEtc = "/etc";
// What git and libc read of /etc; hooks get all of it.
constexpr std::string_view kEtcOfReaders[] = {
    "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/passwd",      "/etc/group",
    "/etc/localtime",   "/etc/nsswitch.conf", "/etc/alternatives"};
// Where links of /etc lead to, resolv.conf on many machines; and the kernel's own.
constexpr std::string_view kSystemFolders[] = {"/proc", "/sys", "/run/systemd/resolve"};
constexpr std::string_view kDevices[] = {"/dev/null",    "/dev/zero",   "/dev/full",
                                         "/dev/urandom", "/dev/random", "/dev/tty"};
constexpr std::string_view kTemporary[] = {"/tmp", "/dev/shm"};

template <typename Range>
void append(std::vector<std::string>& paths, const Range& more) {
  for (const auto& path : more) paths.emplace_back(path);
}

// A git that is not among the system's programs brings its helpers along.
void append_git(std::vector<std::string>& paths, const fs::path& git) {
  paths.push_back(git.string());
  const fs::path folder = git.parent_path();
  if (folder.filename() != "bin") return;
  paths.push_back(folder.string());
  for (const char* beside : {"libexec", "lib", "share"}) {
    paths.push_back((folder.parent_path() / beside).string());
  }
}

// The folder that holds a secret; the file alone where that folder is one of many things, or holds
// the repositories.
void append_secret(std::vector<std::string>& hidden, const std::string& file,
                   const std::string& root) {
  const auto hide = [&](const fs::path& path) {
    const std::string folder = path.parent_path().string();
    const bool shared = folder == kEtc || (root + "/").starts_with(folder + "/") ||
                        std::ranges::find(kPrograms, folder) != std::end(kPrograms);
    hidden.push_back(shared ? path.string() : folder);
  };
  std::error_code error;
  const fs::path named = fs::absolute(file, error).lexically_normal();
  hide(named);
  if (const fs::path real = fs::canonical(named, error); !error && real != named) hide(real);
}

}  // namespace

io::SandboxPolicy children_policy(const Config& config, const std::string& weir_path) {
  io::SandboxPolicy policy;
  policy.programs = {config.git.git_path, weir_path};
  policy.write_root = config.root;

  std::vector<std::string> both = {config.root, config.state + "/gitconfig", weir_path};
  append(both, kPrograms);
  append(both, kSystemFolders);
  append_git(both, config.git.git_path);
  append(both, config.sandbox.read_paths);

  policy.readers.read_paths = both;
  append(policy.readers.read_paths, kEtcOfReaders);
  append(policy.readers.write_paths, kDevices);
  policy.readers.sockets = io::Sockets::none;

  policy.writers.read_paths = both;
  policy.writers.read_paths.emplace_back(kEtc);
  append(policy.writers.write_paths, kDevices);
  append(policy.writers.write_paths, kTemporary);
  append(policy.writers.write_paths, config.sandbox.hooks_write_paths);
  policy.writers.sockets = config.sandbox.hooks_network ? io::Sockets::any : io::Sockets::local;

  policy.hidden_paths = {config.state};
  append_secret(policy.hidden_paths, config.access.tokens_path, config.root);
  for (const io::CertificateFiles& files : config.certificates) {
    append_secret(policy.hidden_paths, files.key_path, config.root);
  }
  return policy;
}

std::vector<ConfinementPart> confine_serving_process() {
  const bool has_filters = io::SyscallFilter::available();
  std::string problem = io::kSanitized ? "a sanitizer build" : "the kernel has no seccomp filters";
  bool filtered = false;
  if (has_filters && !io::kSanitized) {
    const io::Result<io::SyscallFilter> filter = io::SyscallFilter::for_serving();
    const int refused = filter ? filter->put_on_all_threads() : filter.error().sys_errno;
    filtered = refused == 0;
    problem = fmt::format("seccomp: errno {}", refused);
  }
  std::vector<ConfinementPart> parts = {
      {"no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 1 : 0},
      {"not_dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 1 : 0},
      {"system_call_filter", filtered ? 1 : 0},
      {"children_system_call_filter", has_filters ? 1 : 0},
      {"children_landlock", io::landlock_version()},
      {"planners_system_call_filter", has_filters && !io::kSanitized ? 1 : 0}};
  std::string text = "confinement:";
  for (const ConfinementPart& part : parts) {
    text += fmt::format(" {}={}", part.name, part.value);
    io::Metrics::instance()
        .gauge("weir_confinement", fmt::format("part=\"{}\"", part.name),
               "1 for a confinement that is in force (of Landlock its version), 0 for one that the "
               "kernel lacks.")
        .set(part.value);
  }
  if (!filtered) text += " (no filter of the serving process: " + problem + ")";
  const bool whole = std::ranges::all_of(parts, [](const auto& part) { return part.value != 0; });
  io::log_event(whole ? io::LogLevel::info : io::LogLevel::warn, text);
  return parts;
}

}  // namespace weir::server
