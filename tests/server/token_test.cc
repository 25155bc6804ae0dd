#include "server/token.h"

#include <gtest/gtest.h>

#include <set>

namespace weir::server {
namespace {

TEST(Token, is_parsed_as_it_was_made) {
  std::set<std::string> tokens;
  for (int i = 0; i < 100; ++i) {
    const std::string token = make_token();
    EXPECT_EQ(token.size(), kTokenChars);
    const auto parts = parse_token(token);
    ASSERT_TRUE(parts) << token;
    EXPECT_EQ(token.substr(0, 17), "weir_" + std::string(parts->id));
    EXPECT_EQ(token.substr(18, 32), parts->secret);
    tokens.insert(token);
  }
  EXPECT_EQ(tokens.size(), 100U);
}

TEST(Token, keeps_its_format) {
  const auto parts = parse_token("weir_abcdefghijkl_abcdefghijklmnopqrstuvwxyz234567_6cpyec");
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->id, "abcdefghijkl");
  EXPECT_EQ(parts->secret, "abcdefghijklmnopqrstuvwxyz234567");
}

TEST(Token, refuses_every_one_character_change) {
  const std::string token = make_token();
  for (std::size_t i = 0; i < token.size(); ++i) {
    for (const char c : {'a', 'b', 'A', '_', '1', ' ', '\0'}) {
      if (token[i] == c) continue;
      std::string changed = token;
      changed[i] = c;
      EXPECT_FALSE(parse_token(changed)) << i << " " << c;
    }
    std::string shorter = token;
    shorter.erase(i, 1);
    EXPECT_FALSE(parse_token(shorter));
    std::string longer = token;
    longer.insert(i, 1, 'a');
    EXPECT_FALSE(parse_token(longer));
  }
  EXPECT_FALSE(parse_token(""));
  EXPECT_FALSE(parse_token(token + "\n"));
  EXPECT_FALSE(parse_token(" " + token));
}

TEST(Token, ids_are_twelve_base32_characters) {
  EXPECT_TRUE(is_token_id("abcdefgh2345"));
  for (const char* bad : {"", "abcdefgh234", "abcdefgh23456", "abcdefgh2340", "Abcdefgh2345",
                          "abcdefgh 345", "../../../etc"}) {
    EXPECT_FALSE(is_token_id(bad)) << bad;
  }
}

}  // namespace
}  // namespace weir::server
