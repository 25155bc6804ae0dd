// check_environment: what only the running machine can tell about a configuration. Startup, reload
// and `weir check`; may block for as long as `git --version` takes, kGitAnswerTime at most.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "io/clock.h"
#include "io/durable_file.h"
#include "io/tls_context.h"
#include "server/config.h"
#include "server/config_values.h"
#include "server/token_file.h"

namespace weir::server {
namespace {

constexpr auto kGitAnswerTime = std::chrono::seconds(10);
// Older ones lack GIT_CONFIG_GLOBAL or the safe.directory that Weir sets for its children.
constexpr int kGitMajorMin = 2, kGitMinorMin = 36;

std::string errno_text() {
  char buffer[128];
  return strerror_r(errno, buffer, sizeof buffer);
}

std::string folder_problem(const std::string& path, int mode) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return path + ": " + errno_text();
  if (!S_ISDIR(status.st_mode)) return path + ": not a folder";
  if (access(path.c_str(), mode) != 0) return path + ": " + errno_text();
  return "";
}

std::string access_problem(const std::string& path, int mode) {
  return access(path.c_str(), mode) == 0 ? "" : path + ": " + errno_text();
}

// A path that will be made or opened later: its folder must allow that.
std::string creatable_problem(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0 && errno != ENOENT) return path + ": " + errno_text();
  return folder_problem(io::folder_of(path), W_OK | X_OK);
}

std::string state_problem(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0 && errno == ENOENT) return creatable_problem(path);
  std::string problem = folder_problem(path, R_OK | W_OK | X_OK);
  if (problem.empty() && (status.st_mode & 022) != 0) {
    problem = path + ": other users may change it; chmod 700 it";
  }
  return problem;
}

// The first bytes that the child writes, until it ends or its time is over.
std::string read_answer(int fd) {
  const io::SystemClock clock;
  const io::Instant end = clock.now() + kGitAnswerTime;
  std::string answer;
  std::array<char, 256> buffer;
  while (answer.size() < buffer.size()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - clock.now());
    pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
    const int polled = poll(&ready, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (polled < 0 && errno == EINTR) continue;
    if (polled <= 0) break;
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got <= 0) break;
    answer.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return answer;
}

std::string git_version_text(const std::string& path, std::string& problem) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    problem = "pipe: " + errno_text();
    return "";
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  std::string name = "git", flag = "--version", variable = "PATH=/usr/bin:/bin";
  char* argv[] = {name.data(), flag.data(), nullptr};
  char* environment[] = {variable.data(), nullptr};
  pid_t child = -1;
  const int error = posix_spawn(&child, path.c_str(), &actions, nullptr, argv, environment);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string answer;
  if (error != 0) {
    errno = error;
    problem = path + ": " + errno_text();
  } else {
    answer = read_answer(ends[0]);
    kill(child, SIGKILL);  // it has answered, or its time is over
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  close(ends[0]);
  return answer;
}

std::string git_problem(const std::string& path) {
  std::string problem;
  const std::string answer = git_version_text(path, problem);
  if (!problem.empty()) return problem;
  constexpr std::string_view kBefore = "git version ";
  int major = 0, minor = 0;
  if (answer.starts_with(kBefore)) {
    const char* end = answer.data() + answer.size();
    const char* dot = std::from_chars(answer.data() + kBefore.size(), end, major).ptr;
    if (dot != end) std::from_chars(dot + 1, end, minor);
  }
  if (major == 0) return path + ": does not answer --version as git does";
  if (major < kGitMajorMin || (major == kGitMajorMin && minor < kGitMinorMin)) {
    return path + ": git " + std::to_string(kGitMajorMin) + "." + std::to_string(kGitMinorMin) +
           " or newer expected, got " + std::to_string(major) + "." + std::to_string(minor);
  }
  return "";
}

}  // namespace

std::string check_environment(const Config& config) {
  std::string all;
  const auto add = [&all](std::string_view key, const std::string& problem) {
    if (problem.empty()) return;
    if (!all.empty()) all += '\n';
    all.append(key).append(": ").append(problem);
  };
  add("root", config.root.empty() ? "a folder expected, got nothing"
                                  : folder_problem(config.root, R_OK | X_OK));
  add("state", state_problem(config.state));
  for (const std::string& path : config.sandbox.read_paths) {
    add("sandbox.read_paths", access_problem(path, R_OK));
  }
  for (const std::string& path : config.sandbox.hooks_write_paths) {
    add("sandbox.hooks_write_paths", access_problem(path, W_OK));
  }
  // Addresses may have come from the command line, unseen by parse_config.
  for (const std::string& address : config.listen.addresses) {
    if (!is_socket_address(address)) add("listen.addresses", address + ": address:port expected");
  }
  const std::string& admin = config.listen.admin_address;
  if (!admin.empty() && !is_loopback_socket_address(admin)) {
    add("listen.admin_address", admin + ": loopback address:port expected");
  }
  if (config.certificates.empty()) {
    add("tls.certificates",
        "at least one expected, such as [{ certificate = \"cert.pem\", key = \"key.pem\" }]");
  } else {
    io::TlsServerConfig tls;
    tls.certificates = config.certificates;
    std::string problem;
    const auto context = io::TlsContext::create_server(tls, problem);
    if (!context && problem.empty()) problem = io::to_string(context.error());
    if (!context) add("tls.certificates", problem);
  }
  const auto tokens = TokenFile::open(
      config.access.tokens_path.empty() ? config.state + "/tokens" : config.access.tokens_path);
  if (!tokens) add("access.tokens", tokens.error());
  add("git.git_path", git_problem(config.git.git_path));
  if (!config.log.path.empty()) add("log.path", creatable_problem(config.log.path));
  return all;
}

}  // namespace weir::server
