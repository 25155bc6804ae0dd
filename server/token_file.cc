#include "server/token_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <unordered_set>

#include "io/durable_file.h"
#include "io/unique_fd.h"
#include "server/token.h"

namespace weir::server {
namespace {

constexpr std::string_view kHeader =
    "# Tokens of Weir, written by `weir token`; secrets are not in here, only their SHA-256.\n"
    "# id\tsha256\ttenant\tsubject\tscopes\tcreated\texpires\n";

std::string system_problem(const std::string& path) {
  char buffer[128];
  return path + ": " + strerror_r(errno, buffer, sizeof buffer);
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

bool parse_seconds(std::string_view text, std::int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value >= 0;
}

bool is_sha256_hex(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// "" or what is wrong with the line.
std::string_view parse_line(std::string_view line, StoredToken& token) {
  std::array<std::string_view, 7> fields;
  std::size_t count = 0;
  while (true) {
    if (count == fields.size()) return "more than 7 fields";
    const std::size_t tab = line.find('\t');
    fields[count++] = line.substr(0, tab);
    if (tab == std::string_view::npos) break;
    line.remove_prefix(tab + 1);
  }
  if (count < fields.size()) return "fewer than 7 fields";
  if (!is_token_id(fields[0])) return "the id is not 12 characters of a-z, 2-7";
  if (!is_sha256_hex(fields[1])) return "the hash is not 64 hexadecimal digits";
  if (!is_token_tenant(fields[2])) return "the tenant is not a name or *";
  if (!is_token_subject(fields[3]))
    return "the subject is empty, too long or has control characters";
  const auto scopes = parse_scopes(fields[4]);
  if (!scopes) return "the scopes are not read, push or read,push";
  if (!parse_seconds(fields[5], token.created_unix_s)) return "the creation time is not a number";
  if (!parse_seconds(fields[6], token.expires_unix_s)) return "the expiry time is not a number";
  token.id = fields[0];
  token.secret_sha256_hex = fields[1];
  token.tenant = fields[2];
  token.subject = fields[3];
  token.scopes = *scopes;
  return "";
}

std::string render(const std::vector<StoredToken>& tokens) {
  std::string text(kHeader);
  for (const StoredToken& token : tokens) {
    text += token.id + '\t' + token.secret_sha256_hex + '\t' + token.tenant + '\t' + token.subject +
            '\t' + scopes_text(token.scopes) + '\t' + std::to_string(token.created_unix_s) + '\t' +
            std::to_string(token.expires_unix_s) + '\n';
  }
  return text;
}

}  // namespace

std::optional<std::uint8_t> parse_scopes(std::string_view text) {
  constexpr auto kRead = static_cast<std::uint8_t>(Scope::read);
  constexpr auto kPush = static_cast<std::uint8_t>(Scope::push);
  if (text == "read") return kRead;
  if (text == "push") return kPush;
  if (text == "read,push" || text == "push,read") {
    return static_cast<std::uint8_t>(kRead | kPush);
  }
  return std::nullopt;
}

std::string scopes_text(std::uint8_t scopes) {
  const bool read = (scopes & static_cast<std::uint8_t>(Scope::read)) != 0;
  const bool push = (scopes & static_cast<std::uint8_t>(Scope::push)) != 0;
  return std::string(read ? "read" : "") + (read && push ? "," : "") + (push ? "push" : "");
}

bool is_token_tenant(std::string_view tenant) {
  return !tenant.empty() && tenant.size() <= kTenantBytesMax && tenant != "." && tenant != ".." &&
         tenant != "-" && tenant.find('/') == std::string_view::npos &&
         (tenant == "*" || tenant.find('*') == std::string_view::npos) &&
         std::ranges::none_of(tenant, is_control);
}

bool is_token_subject(std::string_view subject) {
  return !subject.empty() && subject.size() <= kSubjectBytesMax &&
         std::ranges::none_of(subject, is_control);
}

std::expected<std::vector<StoredToken>, std::string> parse_token_lines(const std::string& path,
                                                                       std::string_view text) {
  std::vector<StoredToken> tokens;
  std::unordered_set<std::string> ids;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    if (line.empty() || line[0] == '#') continue;
    StoredToken token;
    std::string_view problem = parse_line(line, token);
    if (problem.empty() && !ids.insert(token.id).second) problem = "the id appears a second time";
    if (!problem.empty()) {
      return std::unexpected(path + ":" + std::to_string(number) + ": " + std::string(problem));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::expected<std::vector<StoredToken>, std::string> read_token_file(const std::string& path) {
  const io::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status{};
  if (file.get() < 0 || fstat(file.get(), &status) != 0) {
    return std::unexpected(system_problem(path));
  }
  if (!S_ISREG(status.st_mode)) return std::unexpected(path + ": not a regular file");
  if ((status.st_mode & 022) != 0) {
    return std::unexpected(path + ": other users may change it; chmod 600 it");
  }
  std::string text;
  std::array<char, 64 * 1024> buffer;
  while (true) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(system_problem(path));
    if (got == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() > kTokenFileBytesMax) return std::unexpected(path + ": larger than 64 MiB");
  }
  return parse_token_lines(path, text);
}

std::string update_token_file(const std::string& path,
                              const std::function<std::string(std::vector<StoredToken>&)>& change) {
  const std::string lock_path = path + ".lock";
  const io::UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) return system_problem(lock_path);
  while (flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return system_problem(lock_path);
  }
  std::vector<StoredToken> tokens;
  if (access(path.c_str(), F_OK) == 0 || errno != ENOENT) {
    auto read = read_token_file(path);
    if (!read) return read.error();
    tokens = std::move(*read);
  }
  std::string problem = change(tokens);
  if (!problem.empty()) return problem;
  const std::string text = render(tokens);
  if (text.size() > kTokenFileBytesMax) return path + ": would be larger than 64 MiB";
  const io::Result<void> written = io::write_durably(path, text);
  return written ? "" : path + ": " + io::to_string(written.error());
}

std::expected<std::shared_ptr<TokenFile>, std::string> TokenFile::open(std::string path) {
  std::shared_ptr<TokenFile> store(new TokenFile(std::move(path)));
  if (access(store->path_.c_str(), F_OK) != 0 && errno == ENOENT) return store;
  std::string problem = store->reload();
  if (!problem.empty()) return std::unexpected(std::move(problem));
  return store;
}

std::string TokenFile::reload() {
  if (size() == 0 && access(path_.c_str(), F_OK) != 0 && errno == ENOENT) return "";
  auto tokens = read_token_file(path_);
  if (!tokens) return tokens.error();
  auto fresh = std::make_shared<Table>();
  fresh->reserve(tokens->size());
  for (StoredToken& token : *tokens) {
    std::string id = token.id;
    fresh->emplace(std::move(id), std::move(token));
  }
  const std::lock_guard lock(mutex_);
  table_ = std::move(fresh);
  version_.fetch_add(1, std::memory_order_release);
  return "";
}

std::shared_ptr<const TokenFile::Table> TokenFile::table() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

std::size_t TokenFile::size() const {
  return table()->size();
}

io::Task<io::Result<std::optional<StoredToken>>> TokenFile::find(std::string id) {
  const std::shared_ptr<const Table> current = table();
  const auto found = current->find(id);
  std::optional<StoredToken> token;
  if (found != current->end()) token = found->second;
  co_return token;
}

}  // namespace weir::server
