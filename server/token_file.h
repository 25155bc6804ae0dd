#pragma once
// TokenFile: the token store of one machine: a text file, loaded whole into an immutable table that
// a reload swaps. Thread-safe; find() never waits. Bounded by kTokenFileBytesMax. A broken line is
// an error that names file and line, and the table in force stays. Writers (`weir token`) exclude
// each other by flock on "<path>.lock" and replace the file by rename, so a reader sees the old
// file or the new one. Format, fields parted by a tab, lines that begin with '#' and empty lines
// are skipped:
//   id  sha256-of-secret(hex)  tenant  subject  scopes  created(unix s)  expires(unix s, 0: never)

#include <atomic>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/authenticator.h"

namespace weir::server {

inline constexpr std::size_t kTokenFileBytesMax = 64UL * 1024 * 1024;  // ~400,000 tokens
inline constexpr std::size_t kSubjectBytesMax = 200;
inline constexpr std::size_t kTenantBytesMax = 255;

class TokenFile final : public TokenStore {
 public:
  // A file that is not there yet is an empty one. The error is the text for the operator.
  static std::expected<std::shared_ptr<TokenFile>, std::string> open(std::string path);

  io::Task<io::Result<std::optional<StoredToken>>> find(std::string id) override;
  // Any thread, blocking. "" or what is wrong; then nothing has changed. A file that has vanished
  // counts as wrong: one stray rm does not lock everybody out.
  std::string reload();
  std::size_t size() const;
  std::uint64_t version() const override { return version_.load(std::memory_order_acquire); }

 private:
  using Table = std::unordered_map<std::string, StoredToken>;
  explicit TokenFile(std::string path) : path_(std::move(path)) {}
  std::shared_ptr<const Table> table() const;

  const std::string path_;
  mutable std::mutex mutex_;  // guards the pointer only
  std::shared_ptr<const Table> table_ = std::make_shared<Table>();
  std::atomic<std::uint64_t> version_{0};
};

// `path` is for the texts of errors. Pure.
std::expected<std::vector<StoredToken>, std::string> parse_token_lines(const std::string& path,
                                                                       std::string_view text);
std::expected<std::vector<StoredToken>, std::string> read_token_file(const std::string& path);
// Blocking: lock, read, `change` (returns "" or why not), write, sync, rename. "" or what is wrong.
std::string update_token_file(const std::string& path,
                              const std::function<std::string(std::vector<StoredToken>&)>& change);

// "read", "push", "read,push"; nullopt if it is none of them.
std::optional<std::uint8_t> parse_scopes(std::string_view text);
std::string scopes_text(std::uint8_t scopes);
// "*" or one segment of a repository path.
bool is_token_tenant(std::string_view tenant);
// 1..kSubjectBytesMax bytes without control characters.
bool is_token_subject(std::string_view subject);

}  // namespace weir::server
