#include "server/token_command.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <string>

#include "io/clock.h"
#include "io/digest.h"
#include "server/token.h"
#include "server/token_file.h"

namespace weir::server {
namespace {

constexpr std::int64_t kExpiryMaxS = 3650LL * 86'400;

struct AddOptions {
  std::string file, tenant, subject, scopes, expires = "never";
  bool secret_only = false;
};

std::int64_t unix_now_s() {
  return io::SystemClock().unix_ns() / 1'000'000'000;
}

// "90d", "12h", "30m": seconds; "never": 0; -1: not a duration.
std::int64_t parse_expiry(std::string_view text) {
  if (text == "never") return 0;
  if (text.size() < 2) return -1;
  const std::int64_t unit = text.back() == 'd'   ? 86'400
                            : text.back() == 'h' ? 3'600
                            : text.back() == 'm' ? 60
                                                 : 0;
  std::int64_t count = 0;
  const char* last = text.data() + text.size() - 1;
  const auto [end, error] = std::from_chars(text.data(), last, count);
  if (unit == 0 || error != std::errc{} || end != last) return -1;
  return count >= 1 && count <= kExpiryMaxS / unit ? count * unit : -1;
}

std::string date_text(std::int64_t unix_s) {
  if (unix_s == 0) return "never";
  const std::time_t time = unix_s;
  std::tm parts{};
  char buffer[32];
  if (gmtime_r(&time, &parts) == nullptr) return std::to_string(unix_s);
  std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return buffer;
}

int refuse(const std::string& problem) {
  std::fprintf(stderr, "weir token: %s\n", problem.c_str());
  return 1;
}

int add(const AddOptions& options) {
  if (!is_token_tenant(options.tenant)) return refuse("--tenant: a tenant's name or '*' expected");
  if (!is_token_subject(options.subject)) {
    return refuse("--subject: 1 to 200 bytes without control characters expected");
  }
  const auto scopes = parse_scopes(options.scopes);
  if (!scopes) return refuse("--scopes: read, push or read,push expected");
  const std::int64_t lifetime_s = parse_expiry(options.expires);
  if (lifetime_s < 0) {
    return refuse("--expires: a time such as 90d, 12h or 30m (at most 3650d) or never expected");
  }
  const std::string token = make_token();
  const auto parts = parse_token(token);
  if (!parts) return refuse("a token was made that cannot be read");
  const std::int64_t now_s = unix_now_s();
  StoredToken stored{.id = std::string(parts->id),
                     .secret_sha256_hex = io::to_hex(io::sha256(parts->secret)),
                     .tenant = options.tenant,
                     .subject = options.subject,
                     .scopes = *scopes,
                     .created_unix_s = now_s,
                     .expires_unix_s = lifetime_s == 0 ? 0 : now_s + lifetime_s};
  const std::string problem = update_token_file(options.file, [&](std::vector<StoredToken>& all) {
    all.push_back(stored);
    return std::string();
  });
  if (!problem.empty()) return refuse(problem);
  std::printf("%s\n", token.c_str());
  if (!options.secret_only) {
    std::fprintf(stderr,
                 "Token %s for %s, tenant %s, scopes %s, expires %s.\n"
                 "It is shown this once. Use it as the password; any user name will do.\n"
                 "A running server knows it after SIGHUP.\n",
                 stored.id.c_str(), stored.subject.c_str(), stored.tenant.c_str(),
                 scopes_text(stored.scopes).c_str(), date_text(stored.expires_unix_s).c_str());
  }
  return 0;
}

int list(const std::string& file) {
  const auto tokens = read_token_file(file);
  if (!tokens) return refuse(tokens.error());
  const std::int64_t now_s = unix_now_s();
  std::printf("%-12s  %-16s  %-24s  %-9s  %-20s  %s\n", "ID", "TENANT", "SUBJECT", "SCOPES",
              "CREATED", "EXPIRES");
  for (const StoredToken& token : *tokens) {
    const bool expired = token.expires_unix_s != 0 && token.expires_unix_s <= now_s;
    std::printf("%-12s  %-16s  %-24s  %-9s  %-20s  %s%s\n", token.id.c_str(), token.tenant.c_str(),
                token.subject.c_str(), scopes_text(token.scopes).c_str(),
                date_text(token.created_unix_s).c_str(), date_text(token.expires_unix_s).c_str(),
                expired ? " (expired)" : "");
  }
  return 0;
}

int revoke(const std::string& file, const std::string& id) {
  const std::string problem = update_token_file(file, [&](std::vector<StoredToken>& all) {
    const auto gone = std::erase_if(all, [&](const StoredToken& token) { return token.id == id; });
    return gone == 0 ? file + ": no token has the id " + id : std::string();
  });
  if (!problem.empty()) return refuse(problem);
  std::fprintf(stderr, "Token %s is revoked; a running server knows it after SIGHUP.\n",
               id.c_str());
  return 0;
}

}  // namespace

int token_command(int argc, char** argv) {
  CLI::App app("Makes, lists and revokes access tokens.", "weir token");
  app.require_subcommand(1);
  AddOptions options;
  std::string file, id;
  CLI::App* add_command = app.add_subcommand("add", "Makes a token and prints it, this once");
  add_command->add_option("--file", options.file, "Token file")->required()->type_name("FILE");
  add_command->add_option("--tenant", options.tenant, "Tenant, or * for all")
      ->required()
      ->type_name("NAME");
  add_command->add_option("--subject", options.subject, "User or robot it is for")
      ->required()
      ->type_name("NAME");
  add_command->add_option("--scopes", options.scopes, "read, push or read,push")
      ->required()
      ->type_name("SCOPES");
  add_command->add_option("--expires", options.expires, "90d, 12h, 30m or never (the default)")
      ->type_name("TIME");
  add_command->add_flag("--secret-only", options.secret_only, "Print nothing but the token");
  CLI::App* list_command = app.add_subcommand("list", "Shows every token but its secret");
  list_command->add_option("--file", file, "Token file")->required()->type_name("FILE");
  CLI::App* revoke_command = app.add_subcommand("revoke", "Withdraws a token");
  revoke_command->add_option("--file", file, "Token file")->required()->type_name("FILE");
  revoke_command->add_option("id", id, "The 12 characters after weir_")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : 2;
  }
  if (add_command->parsed()) return add(options);
  if (list_command->parsed()) return list(file);
  return revoke(file, id);
}

}  // namespace weir::server
