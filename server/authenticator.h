#pragma once
// Authenticator: from an Authorization header to a Principal. Tokens are
// "weir_<id>_<secret>_<checksum>" (Basic password, whatever the user name, or Bearer); only their
// SHA-256 is stored. The store behind it is an interface: a file now, a database table later. Wrong
// guesses are damped per (address, credential id) in a bounded table; a valid credential is never
// delayed, and is recognized by its digest while its loop remembers it (verified_tokens.h).
// Thread-safe: shared by loops. No secret is ever logged, copied into an error or kept.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/clock.h"
#include "io/error.h"
#include "io/task.h"
#include "server/principal.h"
#include "server/verified_tokens.h"

namespace weir::server {

struct StoredToken {
  std::string id;
  std::string secret_sha256_hex;
  std::string tenant;
  std::string subject;
  std::uint8_t scopes = 0;
  std::int64_t created_unix_s = 0;
  std::int64_t expires_unix_s = 0;  // 0: never
};

class TokenStore {
 public:
  virtual ~TokenStore() = default;
  // nullopt: no such token. Errc::unavailable: cannot tell now (never answered as "no").
  virtual io::Task<io::Result<std::optional<StoredToken>>> find(std::string id) = 0;
  // Another number after each change of what find() may answer. Any thread.
  virtual std::uint64_t version() const = 0;
};

enum class AuthStatus : std::uint8_t {
  anonymous,    // no credentials were sent
  known,        // principal is filled in
  wrong,        // credentials that are not valid: 401
  damped,       // too many wrong ones from there: 429
  unavailable,  // the store cannot answer: 503, never 401
};

struct Authentication {
  AuthStatus status = AuthStatus::anonymous;
  Principal principal;
  std::int64_t retry_after_s = 0;  // damped
};

class Authenticator {
 public:
  Authenticator(std::shared_ptr<TokenStore> store, const io::Clock& clock);
  ~Authenticator();
  // `authorization`: the header's value ("" = absent). `address`: of the client. `verified`: of the
  // calling loop. All of them outlive the task.
  io::Task<Authentication> authenticate(std::string_view authorization, std::string_view address,
                                        VerifiedTokens& verified);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::server
