#pragma once
// Tokens: "weir_<id>_<secret>_<checksum>", letters a-z and digits 2-7 (RFC 4648 base32, lower
// case).
//   id        12 characters, names the token in lists and logs; no secret
//   secret    32 characters = 160 random bits; only the SHA-256 of these characters is stored
//   checksum   6 characters = the first 30 bits of the SHA-256 of "weir_<id>_<secret>": tells
//   typos, and
//             lets scanners of leaked secrets find tokens without asking anybody
// Pure values; any thread.

#include <optional>
#include <string>
#include <string_view>

namespace weir::server {

inline constexpr std::size_t kTokenIdChars = 12;
inline constexpr std::size_t kTokenSecretChars = 32;
inline constexpr std::size_t kTokenChecksumChars = 6;
inline constexpr std::size_t kTokenChars =
    5 + kTokenIdChars + 1 + kTokenSecretChars + 1 + kTokenChecksumChars;

struct TokenParts {  // views into the token
  std::string_view id;
  std::string_view secret;
};

// nullopt: not a token, or mistyped.
std::optional<TokenParts> parse_token(std::string_view token);
std::string make_token();
bool is_token_id(std::string_view id);

}  // namespace weir::server
