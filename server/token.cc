#include "server/token.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "io/check.h"
#include "io/digest.h"

namespace weir::server {
namespace {

constexpr std::string_view kPrefix = "weir_";
constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";

bool is_base32(std::string_view text) {
  return text.find_first_not_of(kAlphabet) == std::string_view::npos;
}

// The first `chars` characters of the base32 of `bytes`.
std::string base32(std::span<const std::uint8_t> bytes, std::size_t chars) {
  WEIR_CHECK(chars * 5 <= bytes.size() * 8);
  std::string text;
  for (std::size_t bit = 0; bit < chars * 5; bit += 5) {
    unsigned window = static_cast<unsigned>(bytes[bit / 8]) << 8;
    if (bit / 8 + 1 < bytes.size()) window |= bytes[bit / 8 + 1];
    text += kAlphabet[(window >> (11 - bit % 8)) & 31];
  }
  return text;
}

std::string checksum(std::string_view body) {
  return base32(io::sha256(body), kTokenChecksumChars);
}

}  // namespace

bool is_token_id(std::string_view id) {
  return id.size() == kTokenIdChars && is_base32(id);
}

std::optional<TokenParts> parse_token(std::string_view token) {
  if (token.size() != kTokenChars || !token.starts_with(kPrefix)) return std::nullopt;
  const TokenParts parts{token.substr(kPrefix.size(), kTokenIdChars),
                         token.substr(kPrefix.size() + kTokenIdChars + 1, kTokenSecretChars)};
  const std::size_t body = kTokenChars - kTokenChecksumChars - 1;
  if (token[kPrefix.size() + kTokenIdChars] != '_' || token[body] != '_') return std::nullopt;
  if (!is_token_id(parts.id) || !is_base32(parts.secret)) return std::nullopt;
  if (token.substr(body + 1) != checksum(token.substr(0, body))) return std::nullopt;
  return parts;
}

std::string make_token() {
  std::array<std::uint8_t, 8> id;
  std::array<std::uint8_t, 20> secret;
  io::fill_random(id);
  io::fill_random(secret);
  std::string token(kPrefix);
  token += base32(id, kTokenIdChars);
  token += '_';
  token += base32(secret, kTokenSecretChars);
  io::wipe(secret);
  const std::string sum = checksum(token);
  token += '_';
  token += sum;
  return token;
}

}  // namespace weir::server
