#include "server/authorization_header.h"

#include <span>

#include "http/message.h"
#include "io/digest.h"

namespace weir::server {
namespace {

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

}  // namespace

bool base64_decode(std::string_view text, std::string& out) {
  out.clear();
  if (text.size() % 4 != 0) return false;
  out.reserve(text.size() / 4 * 3);  // no growth: the secret is in one place
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  text.remove_suffix(padding);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const int digit = base64_digit(c);
    if (digit < 0) return false;
    bits = (bits << 6 | static_cast<std::uint32_t>(digit)) & 0xffff;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out += static_cast<char>(bits >> held & 0xff);
  }
  return (bits & ((1U << held) - 1)) == 0;
}

Credentials parse_authorization(std::string_view value) {
  if (value.empty()) return {};
  Credentials credentials{.kind = Credentials::Kind::malformed, .secret = {}};
  if (value.size() > kAuthorizationBytesMax) return credentials;
  const std::string_view scheme = value.substr(0, value.find(' '));
  std::string_view rest = value.substr(scheme.size());
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  if (http::equals_ignoring_case(scheme, "bearer")) {
    if (rest.empty()) return credentials;
    return {.kind = Credentials::Kind::token, .secret = std::string(rest)};
  }
  if (!http::equals_ignoring_case(scheme, "basic")) return credentials;

  std::string pair;
  const bool decoded = base64_decode(rest, pair);
  const std::size_t colon = pair.find(':');
  if (decoded && colon != std::string::npos) {
    const std::string_view user = std::string_view(pair).substr(0, colon);
    const std::string_view password = std::string_view(pair).substr(colon + 1);
    if (user.empty() && password.empty()) {
      credentials.kind = Credentials::Kind::none;
    } else {
      credentials.kind = Credentials::Kind::token;
      credentials.secret = password.empty() || password == "x-oauth-basic" ? user : password;
    }
  }
  io::wipe(std::span(reinterpret_cast<std::uint8_t*>(pair.data()), pair.size()));
  return credentials;
}

}  // namespace weir::server
