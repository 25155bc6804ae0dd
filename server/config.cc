#include "server/config.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "server/config_reader.h"
#include "server/config_values.h"

namespace weir::server {
namespace {

constexpr std::size_t kConfigBytesMax = 4UL * 1024 * 1024;
constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB, kTiB = 1024 * kGiB;

bool any(std::string_view) {
  return true;
}
bool not_empty(std::string_view text) {
  return !text.empty();
}
bool absolute(std::string_view text) {
  return text.starts_with('/');
}
bool none_or_loopback(std::string_view text) {
  return text.empty() || is_loopback_socket_address(text);
}

constexpr TextRule kPath{"path", not_empty};
constexpr TextRule kOptionalPath{"path or \"\"", any};
constexpr TextRule kNetwork{"network such as 10.0.0.0/8 or 2001:db8::/32", is_network};

void read_listen(ConfigReader& reader, ListenConfig& listen) {
  reader.texts("listen.addresses", listen.addresses,
               {"address:port such as 127.0.0.1:8443 or [::1]:8443", is_socket_address});
  reader.text("listen.admin_address", listen.admin_address,
              {"loopback address:port or \"\"", none_or_loopback});
  reader.text("listen.admin_socket", listen.admin_socket, kOptionalPath);
  reader.texts("listen.proxy_protocol_networks", listen.proxy_protocol_networks, kNetwork);
  reader.texts("listen.forwarded_for_networks", listen.forwarded_for_networks, kNetwork);
}

void read_tls(ConfigReader& reader, std::vector<io::CertificateFiles>& certificates) {
  constexpr TextRule kRequiredPath{"path", not_empty, true};
  reader.each("tls.certificates", [&](bool present) {
    io::CertificateFiles files;
    reader.text("certificate", files.certificate_path, kRequiredPath);
    reader.text("key", files.key_path, kRequiredPath);
    if (present) certificates.push_back(std::move(files));
  });
}

void read_access(ConfigReader& reader, AccessConfig& access) {
  reader.boolean("access.public_read", access.public_read);
  reader.text("access.tokens", access.tokens_path, kOptionalPath);
  reader.text("access.realm", access.realm,
              {"1 to 100 printable ASCII characters, no quotes or backslashes", is_realm});
  reader.each("access.rules", [&](bool present) {
    AccessRule rule;
    reader.text("match", rule.match,
                {"tenant, tenant/path or tenant/glob* (no * in the tenant)", is_rule_match, true});
    reader.boolean("public_read", rule.public_read);
    reader.boolean("push", rule.push);
    if (!present) return;
    if (std::ranges::find(access.rules, rule.match, &AccessRule::match) != access.rules.end()) {
      reader.problem("match", "a second rule for the same match");
    }
    access.rules.push_back(std::move(rule));
  });
}

void read_git(ConfigReader& reader, GitConfig& git) {
  reader.text("git.git_path", git.git_path, {"absolute path", absolute});
  reader.choice("git.validity", git.validity, {"stat", "generation"});
  reader.boolean("git.allow_filter", git.allow_filter);
  reader.integer("git.fetch_slots", git.fetch_slots, 0, 4096);
  reader.integer("git.fetch_queue_max", git.fetch_queue_max, 0, 100'000);
  reader.integer("git.push_slots", git.push_slots, 0, 4096);
  reader.integer("git.push_queue_max", git.push_queue_max, 0, 100'000);
  reader.integer("git.workers_per_loop", git.workers_per_loop, 1, 16);
  reader.integer("git.planners", git.planners, 0, 16);
  reader.bytes("git.push_bytes_max", git.push_bytes_max, kMiB, kTiB);
  reader.bytes("git.fetch_request_bytes_max", git.fetch_request_bytes_max, 64 * kKiB, kGiB);
  reader.integer("git.push_time_max_s", git.push_time_max_s, 10, 86'400);
  reader.integer("git.keepalive_s", git.keepalive_s, 1, 60);
}

void read_limits(ConfigReader& reader, LimitsConfig& limits) {
  reader.integer("limits.connections_max", limits.connections_max, 1, 1'000'000);
  reader.integer("limits.requests_in_flight_max", limits.requests_in_flight_max, 1, 1'000'000);
  reader.bytes("limits.requests_held_bytes_max", limits.requests_held_bytes_max, 16 * kMiB, kTiB);
  reader.integer("limits.queue_wait_max_s", limits.queue_wait_max_s, 1, 3'600);
  reader.integer("limits.drain_accept_s", limits.drain_accept_s, 0, 3'600);
  reader.integer("limits.drain_light_s", limits.drain_light_s, 0, 86'400);
  reader.integer("limits.drain_fetch_s", limits.drain_fetch_s, 0, 86'400);
  reader.integer("limits.drain_push_s", limits.drain_push_s, 0, 86'400);
  reader.integer("limits.drain_s", limits.drain_s, 0, 86'400);
}

void read_sandbox(ConfigReader& reader, SandboxConfig& sandbox) {
  constexpr TextRule kAbsolute{"absolute path", absolute};
  reader.texts("sandbox.read_paths", sandbox.read_paths, kAbsolute);
  reader.texts("sandbox.hooks_write_paths", sandbox.hooks_write_paths, kAbsolute);
  reader.boolean("sandbox.hooks_network", sandbox.hooks_network);
}

void read_all(ConfigReader& reader, Config& config) {
  reader.text("root", config.root, kOptionalPath);
  reader.text("state", config.state, kPath);
  reader.integer("loops", config.loops, 0, kLoopsMax);
  reader.choice("io", config.io, {"auto", "io_uring", "epoll"});
  read_listen(reader, config.listen);
  read_tls(reader, config.certificates);
  read_access(reader, config.access);
  read_git(reader, config.git);
  read_limits(reader, config.limits);
  read_sandbox(reader, config.sandbox);
  reader.boolean("maintenance.enabled", config.maintenance.enabled);
  reader.integer("maintenance.quiet_s", config.maintenance.quiet_s, 1, 86'400);
  reader.integer("maintenance.interval_s", config.maintenance.interval_s, 1, 30 * 86'400);
  reader.text("log.path", config.log.path, kOptionalPath);
  reader.boolean("log.requests", config.log.requests);
}

std::string system_problem(const std::string& path) {
  char buffer[128];
  return path + ": " + strerror_r(errno, buffer, sizeof buffer);
}

}  // namespace

std::expected<Config, std::string> parse_config(const std::string& path, const std::string& text) {
  Config config;
  config.path = path;
  ConfigReader reader(path, text);
  read_all(reader, config);
  std::string problems = reader.problems();
  if (!problems.empty()) return std::unexpected(std::move(problems));
  return config;
}

std::expected<Config, std::string> read_config(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::unexpected(system_problem(path));
  std::string text, problem;
  std::array<char, 16 * 1024> buffer;
  while (problem.empty()) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      problem = system_problem(path);
    } else if (text.append(buffer.data(), static_cast<std::size_t>(got)).size() > kConfigBytesMax) {
      problem = path + ": larger than 4 MiB";
    }
  }
  ::close(fd);
  if (!problem.empty()) return std::unexpected(std::move(problem));
  return parse_config(path, text);
}

std::vector<ConfigKey> config_keys() {
  Config config;
  ConfigReader reader("", "");
  read_all(reader, config);
  return reader.keys();
}

}  // namespace weir::server
