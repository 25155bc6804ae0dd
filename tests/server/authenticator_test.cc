#include "server/authenticator.h"

#include <gtest/gtest.h>

#include <map>

#include "io/digest.h"
#include "server/token.h"
#include "tests/server/run_now.h"

namespace weir::server {
namespace {

class FakeStore final : public TokenStore {
 public:
  io::Task<io::Result<std::optional<StoredToken>>> find(std::string id) override {
    ++look_ups;
    if (down) co_return io::fail(io::Errc::unavailable, "token store");
    const auto found = tokens.find(id);
    if (found == tokens.end()) co_return std::nullopt;
    co_return found->second;
  }
  std::uint64_t version() const override { return changes; }
  std::map<std::string, StoredToken> tokens;
  std::uint64_t changes = 0;
  int look_ups = 0;
  bool down = false;
};

class AuthenticatorTest : public testing::Test {
 protected:
  std::string add(std::int64_t expires_unix_s = 0) {
    std::string token = make_token();
    const auto parts = parse_token(token);
    StoredToken stored{.id = std::string(parts->id),
                       .secret_sha256_hex = io::to_hex(io::sha256(parts->secret)),
                       .tenant = "t",
                       .subject = "robot",
                       .scopes = 3,
                       .created_unix_s = 1,
                       .expires_unix_s = expires_unix_s};
    store->tokens.emplace(stored.id, stored);
    ++store->changes;
    return token;
  }
  Authentication ask(const std::string& authorization, const std::string& address = "192.0.2.1") {
    return run_now(authenticator.authenticate(authorization, address, verified)).value();
  }
  AuthStatus status(const std::string& authorization) { return ask(authorization).status; }
  // Another token with the same id and a right checksum cannot be made by hand: forge one by
  // storing another secret under the id of a real token.
  std::string forged() {
    std::string token = add();
    StoredToken& stored = store->tokens.at(std::string(parse_token(token)->id));
    stored.secret_sha256_hex = io::to_hex(io::sha256("another secret"));
    return token;
  }

  std::shared_ptr<FakeStore> store = std::make_shared<FakeStore>();
  io::ManualClock clock;
  Authenticator authenticator{store, clock};
  VerifiedTokens verified;
};

TEST_F(AuthenticatorTest, knows_the_holder_of_a_token) {
  const std::string token = add();
  const Authentication answer = ask("Bearer " + token);
  EXPECT_EQ(answer.status, AuthStatus::known);
  EXPECT_EQ(answer.principal.token_id, parse_token(token)->id);
  EXPECT_EQ(answer.principal.subject, "robot");
  EXPECT_EQ(answer.principal.tenant, "t");
  EXPECT_TRUE(answer.principal.has(Scope::push));
  EXPECT_FALSE(answer.principal.anonymous());
  EXPECT_EQ(store->look_ups, 1);
}

TEST_F(AuthenticatorTest, lets_anonymous_requests_be_no_offence) {
  for (int i = 0; i < 100; ++i) EXPECT_EQ(status(""), AuthStatus::anonymous);
  EXPECT_TRUE(ask("").principal.anonymous());
  EXPECT_EQ(store->look_ups, 0);
}

TEST_F(AuthenticatorTest, refuses_unknown_forged_and_malformed_tokens) {
  EXPECT_EQ(status("Bearer " + make_token()), AuthStatus::wrong);
  EXPECT_EQ(status("Bearer " + forged()), AuthStatus::wrong);
  EXPECT_EQ(status("Bearer password"), AuthStatus::wrong);
  EXPECT_EQ(status("Negotiate YII="), AuthStatus::wrong);
  EXPECT_EQ(status("Basic !"), AuthStatus::wrong);
  EXPECT_TRUE(ask("Bearer " + make_token()).principal.anonymous());
}

TEST_F(AuthenticatorTest, asks_the_store_nothing_about_mistyped_tokens) {
  std::string token = add();
  token.back() = token.back() == 'a' ? 'b' : 'a';
  EXPECT_EQ(status("Bearer " + token), AuthStatus::wrong);
  EXPECT_EQ(store->look_ups, 0);
}

TEST_F(AuthenticatorTest, refuses_a_token_from_the_second_it_expires) {
  const std::int64_t now_s = clock.unix_ns() / 1'000'000'000;
  const std::string token = add(now_s + 10);
  EXPECT_EQ(status("Bearer " + token), AuthStatus::known);
  clock.advance(std::chrono::seconds(9));
  EXPECT_EQ(status("Bearer " + token), AuthStatus::known);
  clock.advance(std::chrono::seconds(1));
  EXPECT_EQ(status("Bearer " + token), AuthStatus::wrong);
}

TEST_F(AuthenticatorTest, knows_a_token_again_without_asking_the_store) {
  const std::string token = add();
  for (int i = 0; i < 3; ++i) {
    const Authentication answer = ask("Bearer " + token);
    EXPECT_EQ(answer.status, AuthStatus::known);
    EXPECT_EQ(answer.principal.token_id, parse_token(token)->id);
    EXPECT_EQ(answer.principal.subject, "robot");
  }
  EXPECT_EQ(store->look_ups, 1);
}

TEST_F(AuthenticatorTest, refuses_a_token_that_was_known_from_the_change_that_revokes_it) {
  const std::string token = add();
  EXPECT_EQ(status("Bearer " + token), AuthStatus::known);
  store->tokens.clear();
  ++store->changes;
  EXPECT_EQ(status("Bearer " + token), AuthStatus::wrong);
}

TEST_F(AuthenticatorTest, sees_changed_rights_of_a_token_that_was_known) {
  const std::string token = add();
  EXPECT_TRUE(ask("Bearer " + token).principal.has(Scope::push));
  store->tokens.at(std::string(parse_token(token)->id)).scopes = 1;
  ++store->changes;
  EXPECT_FALSE(ask("Bearer " + token).principal.has(Scope::push));
}

TEST_F(AuthenticatorTest, asks_the_store_about_each_wrong_secret) {
  const std::string token = forged();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(status("Bearer " + token), AuthStatus::wrong);
  EXPECT_EQ(store->look_ups, 3);
}

TEST_F(AuthenticatorTest, never_takes_a_store_that_cannot_answer_for_a_no) {
  const std::string token = add();
  store->down = true;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(status("Bearer " + token), AuthStatus::unavailable);
  store->down = false;
  EXPECT_EQ(status("Bearer " + token), AuthStatus::known);
}

TEST_F(AuthenticatorTest, damps_guesses_and_never_a_valid_credential) {
  const std::string valid = add();
  const std::string id(parse_token(valid)->id);
  const std::string good_hash = store->tokens[id].secret_sha256_hex;
  store->tokens[id].secret_sha256_hex = io::to_hex(io::sha256("another secret"));
  ++store->changes;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(status("Bearer " + valid), AuthStatus::wrong);
  const Authentication damped = ask("Bearer " + valid);
  EXPECT_EQ(damped.status, AuthStatus::damped);
  EXPECT_EQ(damped.retry_after_s, 600);
  EXPECT_EQ(ask("Bearer " + valid, "192.0.2.2").status, AuthStatus::wrong);
  EXPECT_EQ(status("Bearer " + forged()), AuthStatus::wrong);  // another id

  store->tokens[id].secret_sha256_hex = good_hash;
  ++store->changes;
  EXPECT_EQ(status("Bearer " + valid), AuthStatus::known);
}

TEST_F(AuthenticatorTest, damps_guesses_of_ids_together) {
  for (int i = 0; i < 10; ++i) EXPECT_EQ(status("Bearer " + make_token()), AuthStatus::wrong);
  EXPECT_EQ(status("Bearer " + make_token()), AuthStatus::damped);
  EXPECT_EQ(status("Basic nonsense"), AuthStatus::damped);
  EXPECT_EQ(status(""), AuthStatus::anonymous);
}

}  // namespace
}  // namespace weir::server
