#include "server/authorization_header.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

using Kind = Credentials::Kind;

TEST(AuthorizationHeader, finds_the_token_wherever_clients_put_it) {
  const struct {
    const char* value;
    const char* secret;
  } table[] = {
      {"Bearer tok", "tok"},
      {"bearer   tok", "tok"},
      {"Basic dXNlcjp0b2s=", "tok"},              // user:tok
      {"BASIC OnRvaw==", "tok"},                  // :tok
      {"Basic dG9rOng=", "x"},                    // tok:x
      {"Basic dG9rOngtb2F1dGgtYmFzaWM=", "tok"},  // tok:x-oauth-basic
      {"Basic dG9rOg==", "tok"},                  // tok:
      {"Basic dXNlcjphOmI6", "a:b:"},             // user:a:b:
  };
  for (const auto& row : table) {
    const Credentials credentials = parse_authorization(row.value);
    EXPECT_EQ(credentials.kind, Kind::token) << row.value;
    EXPECT_EQ(credentials.secret, row.secret) << row.value;
  }
}

TEST(AuthorizationHeader, takes_empty_credentials_for_none) {
  EXPECT_EQ(parse_authorization("").kind, Kind::none);
  EXPECT_EQ(parse_authorization("Basic Og==").kind, Kind::none);
}

TEST(AuthorizationHeader, refuses_all_else) {
  const std::string too_long = "Bearer " + std::string(kAuthorizationBytesMax, 'a');
  for (const std::string& bad : {std::string("Basic"),
                                 std::string("Basic "),
                                 std::string("Bearer"),
                                 std::string("Bearer "),
                                 std::string("Digest username=x"),
                                 std::string("Negotiate YII="),
                                 std::string("tok"),
                                 std::string("Basic dXNlcg=="),       // no colon
                                 std::string("Basic dXNlcjp0b2s"),    // unpadded
                                 std::string("Basic dXNlcjp0b2s=="),  // too much padding
                                 std::string("Basic dXNlcjp0b2t="),   // stray bits
                                 std::string("Basic dXNl cjp0b2s="),
                                 std::string("Basic dXNlcjp0b2s= "),
                                 std::string("Basic dXNlcjp0b2s=\n"),
                                 std::string("Basic =dXNlcjp0b2s"),
                                 std::string("Basic dXNl-jp0b2s="),
                                 std::string("Basic user:tok"),
                                 std::string("Basic ===="),
                                 std::string("Basic\tdXNlcjp0b2s="),
                                 std::string(" Basic dXNlcjp0b2s="),
                                 too_long}) {
    const Credentials credentials = parse_authorization(bad);
    EXPECT_EQ(credentials.kind, Kind::malformed) << bad;
    EXPECT_EQ(credentials.secret, "") << bad;
  }
}

TEST(AuthorizationHeader, decodes_base64_strictly) {
  std::string out;
  for (const auto& [text, bytes] : {std::pair{"", ""},
                                    {"Zg==", "f"},
                                    {"Zm8=", "fo"},
                                    {"Zm9v", "foo"},
                                    {"Zm9vYmFy", "foobar"},
                                    {"+/+/", "\xfb\xff\xbf"}}) {
    EXPECT_TRUE(base64_decode(text, out)) << text;
    EXPECT_EQ(out, bytes);
  }
  for (const char* bad : {"Z", "Zg", "Zg=", "Zm9vYg", "Zh==", "Zm9=", "Zg==Zg==", "Zm9v\n", "____",
                          "Z===", "=Zg=", "Zm 9", "Zm9v====", "\xc3\xa9=="}) {
    EXPECT_FALSE(base64_decode(bad, out)) << bad;
  }
}

}  // namespace
}  // namespace weir::server
