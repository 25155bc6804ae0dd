#pragma once
// The Authorization field, taken apart: Basic (RFC 7617) and Bearer (RFC 6750). The result holds a
// secret: whoever asks for it wipes it. Pure; bounded by kAuthorizationBytesMax.

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::server {

inline constexpr std::size_t kAuthorizationBytesMax = 4096;

struct Credentials {
  enum class Kind : std::uint8_t {
    none,       // no field, or Basic with neither user nor password (git's http.emptyAuth)
    token,      // `secret` is what was given as the token
    malformed,  // another scheme, or not decodable
  };
  Kind kind = Kind::none;
  std::string secret;
};

// The token is the password, whatever the user name; or the user name, when the password is empty
// or "x-oauth-basic".
Credentials parse_authorization(std::string_view value);
// Strict base64 (RFC 4648 section 4): padded, no other characters, no stray bits. False: refused.
bool base64_decode(std::string_view text, std::string& out);

}  // namespace weir::server
