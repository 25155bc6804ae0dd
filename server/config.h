#pragma once
// Config: everything an operator sets, with defaults that serve. Read from one TOML file
// (parse_config), then overridden by command-line options in main. Immutable afterwards; a reload
// makes a new one. Problems name file, line, key and the accepted range; an unknown key is an error
// with a suggestion. The manual of every key is docs/configuration.md; a test holds the two
// together.

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "io/clock.h"
#include "io/tls_context.h"

namespace weir::server {

// What a tenant or a repository allows beyond tokens. The most specific rule decides.
struct AccessRule {
  std::string match;  // "acme", "acme/tools/*" or "acme/site": tenant, glob or exact name
  bool public_read = false;
  bool push = true;  // false: read-only for everybody
};

struct ListenConfig {
  std::vector<std::string> addresses{"127.0.0.1:8443"};  // host:port, [::1]:port
  std::string admin_address = "127.0.0.1:8444";          // loopback only; "" = none
  std::string admin_socket;                              // path; "" = <state>/admin.sock
  std::vector<std::string> proxy_protocol_networks;      // CIDR: peers that must send PROXY v2
  std::vector<std::string> forwarded_for_networks;       // CIDR: peers whose X-Forwarded-For counts
};

struct AccessConfig {
  bool public_read = false;  // when no rule matches
  std::string tokens_path;   // "" = <state>/tokens
  std::string realm = "Weir";
  std::vector<AccessRule> rules;
};

struct GitConfig {
  std::string git_path = "/usr/bin/git";
  std::string validity = "stat";  // or "generation"
  bool allow_filter = true;       // false: no partial clones anywhere
  std::uint32_t fetch_slots = 0;  // 0: 4 x cores
  std::uint32_t fetch_queue_max = 512;
  std::uint32_t push_slots = 0;  // 0: 2 x cores
  std::uint32_t push_queue_max = 256;
  std::uint32_t workers_per_loop = 1;
  std::uint32_t planners = 1;  // of each loop; 0: git answers every fetch
  std::uint64_t push_bytes_max = 4UL * 1024 * 1024 * 1024;
  std::uint64_t fetch_request_bytes_max = 8UL * 1024 * 1024;
  std::uint32_t push_time_max_s = 900;
  std::uint32_t keepalive_s = 5;
};

struct LimitsConfig {
  std::uint32_t connections_max = 20'000;  // per process; beyond: closed before TLS
  std::uint32_t requests_in_flight_max = 10'000;
  // Of request bodies that are kept whole in memory (negotiations, push commands), all together.
  std::uint64_t requests_held_bytes_max = 256UL * 1024 * 1024;
  std::uint32_t queue_wait_max_s = 60;  // for a process slot
  // After the server was told to stop: new connections, each request by its class, everything.
  std::uint32_t drain_accept_s = 2;
  std::uint32_t drain_light_s = 30;
  std::uint32_t drain_fetch_s = 300;
  std::uint32_t drain_push_s = 600;
  std::uint32_t drain_s = 600;
};

// What children of the server may reach beyond what they need (server/confinement.h).
struct SandboxConfig {
  std::vector<std::string> read_paths;         // every child: alternates, interpreters of hooks
  std::vector<std::string> hooks_write_paths;  // pushes and their hooks
  bool hooks_network = false;
};

// Repacking in the background (server/maintenance_schedule.h).
struct MaintenanceConfig {
  bool enabled = true;
  std::uint32_t quiet_s = 300;      // without a push
  std::uint32_t interval_s = 3600;  // of one repository
};

struct LogConfig {
  std::string path;  // "" = standard output
  bool requests = true;
};

inline constexpr std::uint32_t kLoopsMax = 64;  // each has a thread, a ring and listening sockets

struct Config {
  std::string path;             // of the file it was read from; "" = none
  std::string root;             // folder of <tenant>/<path>
  std::string state = ".weir";  // folder for what Weir keeps
  std::uint32_t loops = 0;      // 0: cores, at most kLoopsMax
  std::string io = "auto";      // or "io_uring", "epoll"
  ListenConfig listen;
  std::vector<io::CertificateFiles> certificates;
  AccessConfig access;
  GitConfig git;
  LimitsConfig limits;
  SandboxConfig sandbox;
  MaintenanceConfig maintenance;
  LogConfig log;
};

// The text of every problem found, one a line: "weir.toml:12: git.push_slots: 0..4096 expected,
// ...".
std::expected<Config, std::string> parse_config(const std::string& path, const std::string& text);
std::expected<Config, std::string> read_config(const std::string& path);
// What only the running machine can tell: folders exist, certificates load and match their keys,
// git runs, addresses parse, tokens file reads. "" if all is well.
std::string check_environment(const Config& config);

}  // namespace weir::server
