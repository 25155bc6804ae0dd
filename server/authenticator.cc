#include "server/authenticator.h"

#include <span>

#include "io/digest.h"
#include "server/authorization_header.h"
#include "server/damping_table.h"
#include "server/token.h"

namespace weir::server {
namespace {

void wipe(std::string& secret) {
  io::wipe(std::span(reinterpret_cast<std::uint8_t*>(secret.data()), secret.size()));
}

}  // namespace

struct Authenticator::Impl {
  std::shared_ptr<TokenStore> store;
  const io::Clock& clock;
  DampingTable damping;

  Authentication wrong(std::string_view address, std::string_view credential_id) {
    const std::int64_t wait_s = damping.wrong(address, credential_id, clock.now());
    if (wait_s == 0) return {.status = AuthStatus::wrong, .principal = {}, .retry_after_s = 0};
    return {.status = AuthStatus::damped, .principal = {}, .retry_after_s = wait_s};
  }
};

Authenticator::Authenticator(std::shared_ptr<TokenStore> store, const io::Clock& clock)
    : impl_(new Impl{std::move(store), clock, DampingTable()}) {}

Authenticator::~Authenticator() = default;

io::Task<Authentication> Authenticator::authenticate(std::string_view authorization,
                                                     std::string_view address,
                                                     VerifiedTokens& verified) {
  if (authorization.empty()) co_return Authentication{};
  const std::int64_t now_s = impl_->clock.unix_ns() / 1'000'000'000;
  const std::uint64_t version = impl_->store->version();
  const VerifiedTokens::Key key = VerifiedTokens::key_of(authorization);
  if (const Principal* principal = verified.find(key, version, now_s)) {
    co_return Authentication{.status = AuthStatus::known, .principal = *principal};
  }

  Credentials credentials = parse_authorization(authorization);
  if (credentials.kind == Credentials::Kind::none) co_return Authentication{};
  const auto parts = parse_token(credentials.secret);
  if (credentials.kind == Credentials::Kind::malformed || !parts) {
    wipe(credentials.secret);
    co_return impl_->wrong(address, "");
  }
  const std::string id(parts->id);
  const std::string given = io::to_hex(io::sha256(parts->secret));
  wipe(credentials.secret);

  const auto found = co_await impl_->store->find(id);
  if (!found) co_return Authentication{.status = AuthStatus::unavailable, .principal = {}};
  // Ids that do not exist are counted together, so that guessing ids is damped as well.
  if (!found->has_value()) co_return impl_->wrong(address, "");
  const StoredToken& token = **found;
  const bool expired = token.expires_unix_s != 0 && token.expires_unix_s <= now_s;
  if (!io::equal_constant_time(given, token.secret_sha256_hex) || expired) {
    co_return impl_->wrong(address, id);
  }
  Authentication known{.status = AuthStatus::known,
                       .principal = {.token_id = token.id,
                                     .subject = token.subject,
                                     .tenant = token.tenant,
                                     .scopes = token.scopes,
                                     .expires_unix_s = token.expires_unix_s},
                       .retry_after_s = 0};
  verified.remember(key, version, known.principal);
  co_return known;
}

}  // namespace weir::server
