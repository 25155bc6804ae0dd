#include "server/authorizer.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace weir::server {
namespace {

constexpr auto kRead = static_cast<std::uint8_t>(Scope::read);
constexpr auto kPush = static_cast<std::uint8_t>(Scope::push);

Principal known(std::string tenant, std::uint8_t scopes) {
  return {.token_id = "id", .subject = "someone", .tenant = std::move(tenant), .scopes = scopes};
}

AccessConfig rules() {
  AccessConfig config;
  config.rules = {
      {.match = "open", .public_read = true},
      {.match = "open/secret/*", .public_read = false},
      {.match = "open/secret/talks*", .public_read = true},
      {.match = "open/secret/talks/draft", .public_read = false},
      {.match = "open/frozen.git", .public_read = true, .push = false},
      {.match = "shut/site", .public_read = true},
      {.match = "shut/old", .public_read = false, .push = false},
  };
  return config;
}

struct Row {
  Principal principal;
  std::string name;
  Access access;
  bool exists;
  Authorization expected;
};

TEST(Authorizer, decides_by_principal_rule_and_existence) {
  const Principal nobody;
  const Principal reader = known("shut", kRead), pusher = known("shut", kRead | kPush);
  const Principal stranger = known("other", kRead | kPush), master = known("*", kRead | kPush);
  const Principal push_only = known("shut", kPush), no_scope = known("shut", 0);
  constexpr auto read = Access::read, push = Access::push;
  constexpr auto allowed = Authorization::allowed, ask = Authorization::ask_credentials,
                 hidden = Authorization::hidden, read_only = Authorization::read_only;
  const Row table[] = {
      // anonymous: public is read, all else asks, and missing looks like private
      {nobody, "open/a", read, true, allowed},
      {nobody, "open/a", read, false, ask},
      {nobody, "open/a", push, true, ask},
      {nobody, "open/a", push, false, ask},
      {nobody, "shut/a", read, true, ask},
      {nobody, "shut/a", read, false, ask},
      {nobody, "shut/a", push, true, ask},
      {nobody, "shut/site", read, true, allowed},
      {nobody, "shut/site", push, true, ask},
      {nobody, "open/frozen", push, true, ask},
      // own tenant
      {reader, "shut/a", read, true, allowed},
      {reader, "shut/a", read, false, hidden},
      {reader, "shut/a", push, true, read_only},
      {reader, "shut/a", push, false, hidden},
      {pusher, "shut/a", push, true, allowed},
      {pusher, "shut/a", push, false, hidden},
      {pusher, "shut/old", read, true, allowed},
      {pusher, "shut/old", push, true, read_only},
      {push_only, "shut/a", push, true, allowed},
      {push_only, "shut/a", read, true, hidden},
      {push_only, "shut/old", push, true, hidden},
      {no_scope, "shut/a", read, true, hidden},
      {no_scope, "shut/a", push, true, hidden},
      {no_scope, "shut/site", read, true, allowed},
      {no_scope, "shut/site", push, true, read_only},
      // another tenant's token is no more than a name
      {stranger, "shut/a", read, true, hidden},
      {stranger, "shut/a", read, false, hidden},
      {stranger, "shut/a", push, true, hidden},
      {stranger, "open/a", read, true, allowed},
      {stranger, "open/a", read, false, hidden},
      {stranger, "open/a", push, true, read_only},
      {stranger, "open/secret/x", read, true, hidden},
      // every tenant's
      {master, "shut/a", push, true, allowed},
      {master, "open/secret/x", read, true, allowed},
      {master, "open/frozen.git", push, true, read_only},
      {master, "open/a", push, false, hidden},
  };
  const Authorizer authorizer(rules());
  for (const Row& row : table) {
    const auto tenant = row.name.substr(0, row.name.find('/'));
    EXPECT_EQ(authorizer.authorize(row.principal, tenant, row.name, row.access, row.exists),
              row.expected)
        << row.principal.tenant << " " << int{row.principal.scopes} << " " << row.name << " "
        << (row.access == push ? "push" : "read") << (row.exists ? "" : " missing");
  }
}

TEST(Authorizer, lets_the_most_specific_rule_decide) {
  const struct {
    std::string name;
    bool public_read;
  } table[] = {
      {"open/a", true},
      {"open/a/b/c.git", true},
      {"open/secret", true},
      {"open/secret.git", true},
      {"open/secret/x", false},
      {"open/secret/x/y.git", false},
      {"open/secret/talks", true},
      {"open/secret/talks.git", true},
      {"open/secret/talks/2024", true},
      {"open/secret/talks/draft", false},
      {"open/secret/talks/draft.git", false},
      {"open/secret/talks/draft/x", true},
      {"open/frozen", true},
      {"shut/site", true},
      {"shut/site.git", true},
      {"shut/site2", false},
      {"shut/sit", false},
      {"shut/x/site", false},
      {"opened/a", false},
      {"ope/a", false},
  };
  const Authorizer authorizer(rules());
  AccessConfig reversed = rules();
  std::ranges::reverse(reversed.rules);
  const Authorizer other_order(reversed);
  for (const auto& row : table) {
    const auto tenant = row.name.substr(0, row.name.find('/'));
    const auto expected = row.public_read ? Authorization::allowed : Authorization::ask_credentials;
    EXPECT_EQ(authorizer.authorize({}, tenant, row.name, Access::read, true), expected) << row.name;
    EXPECT_EQ(other_order.authorize({}, tenant, row.name, Access::read, true), expected)
        << row.name;
  }
}

TEST(Authorizer, falls_back_to_the_default) {
  AccessConfig config;
  config.public_read = true;
  EXPECT_EQ(Authorizer(config).authorize({}, "t", "t/a", Access::read, true),
            Authorization::allowed);
  config.rules = {{.match = "t/*-private", .public_read = false}};
  EXPECT_EQ(Authorizer(config).authorize({}, "t", "t/a", Access::read, true),
            Authorization::allowed);
  EXPECT_EQ(Authorizer(config).authorize({}, "t", "t/x/a-private.git", Access::read, true),
            Authorization::ask_credentials);
}

}  // namespace
}  // namespace weir::server
