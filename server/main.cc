// The weir binary: one program, several commands.

#include <CLI/CLI.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "git/planner_pool.h"
#include "git/worker_pool.h"
#include "io/durable_file.h"
#include "io/process_identity.h"
#include "server/config.h"
#include "server/confinement.h"
#include "server/listen_sockets.h"
#include "server/maintain_command.h"
#include "server/serving_process.h"
#include "server/supervisor.h"
#include "server/token_command.h"
#include "server/version.h"

// Read by jemalloc at its start; MALLOC_CONF in the environment overrides it. Decay 5 s: bursts of
// output buffers go back to the system soon after.
extern "C" const char* malloc_conf;
const char* malloc_conf =
    "metadata_thp:auto,dirty_decay_ms:5000,muzzy_decay_ms:5000,tcache_max:32768";

namespace {

using weir::server::Config;

constexpr int kUsageStatus = 2;

struct CommandLine {
  std::string config_path;
  std::string root, state, io;
  std::string admin_listen, admin_socket, announce;
  std::vector<std::string> listen;
  std::uint32_t loops = 0;
  std::string git_path;  // of commands that the server starts
  std::vector<std::string> repositories;
  bool dry_run = false;
  bool brief = false;
};

// The file's values, overridden by the command line; folders absolute.
bool load_config(const CommandLine& line, Config& config) {
  if (!line.config_path.empty()) {
    std::expected<Config, std::string> read = weir::server::read_config(line.config_path);
    if (!read) {
      fmt::print(stderr, "{}\n", read.error());
      return false;
    }
    config = std::move(*read);
  }
  if (!line.root.empty()) config.root = line.root;
  if (!line.state.empty()) config.state = line.state;
  if (!line.io.empty()) config.io = line.io;
  if (!line.listen.empty()) config.listen.addresses = line.listen;
  if (!line.admin_listen.empty()) config.listen.admin_address = line.admin_listen;
  if (!line.admin_socket.empty()) config.listen.admin_socket = line.admin_socket;
  if (line.loops != 0) config.loops = line.loops;
  if (config.loops == 0) {
    config.loops = std::clamp(std::thread::hardware_concurrency(), 1U, weir::server::kLoopsMax);
  }
  if (config.root.empty()) {
    fmt::print(stderr, "weir: no repository root: set root in the configuration or give --root\n");
    return false;
  }
  config.root = std::filesystem::absolute(config.root).lexically_normal().string();
  config.state = std::filesystem::absolute(config.state).lexically_normal().string();
  if (config.listen.admin_socket.empty()) config.listen.admin_socket = config.state + "/admin.sock";
  if (config.access.tokens_path.empty()) config.access.tokens_path = config.state + "/tokens";
  return true;
}

int serve(const CommandLine& line) {
  Config config;
  if (!load_config(line, config)) return 2;
  std::error_code error;
  const bool made = std::filesystem::create_directories(config.state, error);
  if (made) (void)weir::io::sync_folder(weir::io::folder_of(config.state));
  if (error) {
    fmt::print(stderr, "weir: state folder {}: {}\n", config.state, error.message());
    return 2;
  }
  std::filesystem::permissions(config.state, std::filesystem::perms::owner_all, error);
  const std::string problems = weir::server::check_environment(config);
  if (!problems.empty()) {
    fmt::print(stderr, "{}\n", problems);
    return 2;
  }
  weir::server::ListenOptions listen;
  listen.loops = static_cast<int>(config.loops);
  listen.addresses = config.listen.addresses;
  listen.admin_tcp_address = config.listen.admin_address;
  listen.admin_unix_path = config.listen.admin_socket;
  std::expected<weir::server::ListenSockets, std::string> sockets =
      weir::server::make_listen_sockets(listen);
  if (!sockets) {
    fmt::print(stderr, "weir: {}\n", sockets.error());
    return 1;
  }
  weir::server::SupervisorOptions options;
  options.loops = static_cast<int>(config.loops);
  options.sockets = std::move(*sockets);
  options.children = weir::server::children_policy(config, weir::io::own_program());
  return weir::server::supervise(
      std::move(options), [&config, &line](weir::server::ServingProcessContext context) {
        return weir::server::run_serving_process(std::move(context), config, line.announce);
      });
}

int check(const CommandLine& line) {
  Config config;
  if (!load_config(line, config)) return 1;
  const std::string problems = weir::server::check_environment(config);
  if (!problems.empty()) {
    fmt::print(stderr, "{}\n", problems);
    return 1;
  }
  fmt::print("configuration is valid\n");
  return 0;
}

int maintain(const CommandLine& line) {
  Config config;
  if (!load_config(line, config)) return kUsageStatus;
  return weir::server::maintain_command(
      {.root = config.root,
       .git_path = line.git_path.empty() ? config.git.git_path : line.git_path,
       .dry_run = line.dry_run,
       .brief = line.brief},
      line.repositories);
}

void add_common_options(CLI::App& command, CommandLine& line) {
  command.add_option("--config", line.config_path, "configuration file (TOML)")->type_name("FILE");
  command.add_option("--root", line.root, "folder that holds <tenant>/<path>.git")
      ->type_name("DIR");
  command.add_option("--state", line.state, "folder for what Weir keeps (default .weir)")
      ->type_name("DIR");
  command.add_option("--listen", line.listen, "HTTPS address, host:port; may be given again")
      ->type_name("HOST:PORT");
  command.add_option("--admin-listen", line.admin_listen, "health and metrics, loopback host:port")
      ->type_name("HOST:PORT");
  command
      .add_option("--admin-socket", line.admin_socket, "admin socket (default <state>/admin.sock)")
      ->type_name("PATH");
  command.add_option("--loops", line.loops, "event loops (default: one a core)")
      ->type_name("N")
      ->check(CLI::Range(1U, weir::server::kLoopsMax));
  command.add_option("--io", line.io, "kernel interface")
      ->type_name("KIND")
      ->check(CLI::IsMember({"auto", "io_uring", "epoll"}));
}

}  // namespace

int main(int argc, char** argv) {
  // Its options are its own; see server/token_command.h.
  if (argc > 1 && std::string_view(argv[1]) == "token") {
    return weir::server::token_command(argc - 1, argv + 1);
  }
  CommandLine line;
  CLI::App app{"Weir: a front-end server for Git hosting", "weir"};
  app.set_version_flag("--version", "weir " + std::string(weir::server::version()));
  // Not require_subcommand(1): it would answer an unknown command without naming it.
  app.require_subcommand(0, 1);
  CLI::App* serve_command = app.add_subcommand("serve", "serve repositories over HTTPS");
  add_common_options(*serve_command, line);
  serve_command->add_option("--announce", line.announce, "URL printed after \"ready\"")
      ->type_name("URL");
  CLI::App* check_command = app.add_subcommand("check", "validate a configuration");
  add_common_options(*check_command, line);
  CLI::App* maintain_command =
      app.add_subcommand("maintain", "repack repositories so that clones of them are fast");
  add_common_options(*maintain_command, line);
  maintain_command->add_flag("--brief", line.brief, "as the server reads it")->group("");
  maintain_command->add_option("--git", line.git_path, "git binary")->group("");
  maintain_command->add_flag("--dry-run", line.dry_run, "say what is due, and do nothing");
  maintain_command
      ->add_option("REPOSITORY", line.repositories, "<tenant>/<path>; none: all below the root")
      ->type_name("");
  app.add_subcommand("token", "make, list and revoke access tokens");
  CLI::App* worker_command =
      app.add_subcommand("git-worker", "serve one loop's questions")->group("");
  worker_command->add_option("--git", line.git_path, "git binary");
  CLI::App* planner_command =
      app.add_subcommand("git-planner", "plan fetches for one loop")->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageStatus;
  }

  if (serve_command->parsed()) return serve(line);
  if (check_command->parsed()) return check(line);
  if (maintain_command->parsed()) return maintain(line);
  if (worker_command->parsed()) return weir::git::worker_main(line.git_path);
  if (planner_command->parsed()) return weir::git::planner_main();
  fmt::print(stderr, "{}", app.help());
  return kUsageStatus;
}
