#include "tests/sim/sim_tokens.h"

#include <array>

#include "io/digest.h"
#include "io/signal.h"
#include "server/token.h"

namespace weir::sim {
namespace {

constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::array kKnown = {Who::reader, Who::writer, Who::stranger};

std::string digits(char first, std::size_t count) {
  std::string text(1, first);
  while (text.size() < count) {
    text += kAlphabet[(static_cast<std::size_t>(text.back()) * 7 + text.size()) % kAlphabet.size()];
  }
  return text;
}

// The shape that server/token.h describes.
std::string make_token(char id, char secret) {
  std::string token =
      "weir_" + digits(id, server::kTokenIdChars) + "_" + digits(secret, server::kTokenSecretChars);
  const io::Sha256Digest digest = io::sha256(token);
  token += '_';
  for (std::size_t bit = 0; bit < server::kTokenChecksumChars * 5; bit += 5) {
    const unsigned window =
        static_cast<unsigned>(digest[bit / 8]) << 8 | unsigned{digest[bit / 8 + 1]};
    token += kAlphabet[(window >> (11 - bit % 8)) & 31];
  }
  return token;
}

}  // namespace

std::string SimTokens::token(Who who) {
  switch (who) {
    case Who::nobody:
      return "";
    case Who::reader:
      return make_token('r', 'a');
    case Who::writer:
      return make_token('w', 'b');
    case Who::stranger:
      return make_token('s', 'c');
    case Who::liar:  // knows the writer's id, not the secret
      return make_token('w', 'd');
  }
  return "";
}

std::vector<std::string> SimTokens::secrets() {
  std::vector<std::string> all;
  for (const char secret : {'a', 'b', 'c', 'd'}) {
    all.push_back(digits(secret, server::kTokenSecretChars));
  }
  return all;
}

SimTokens::SimTokens(io::SeededRandom random, io::Duration delay_max,
                     std::uint64_t unavailable_odds)
    : random_(random), delay_max_(delay_max), unavailable_odds_(unavailable_odds) {
  for (const Who who : kKnown) {
    const std::string text = token(who);
    const auto parts = server::parse_token(text);
    WEIR_CHECK(parts.has_value());
    server::StoredToken stored;
    stored.id = parts->id;
    stored.secret_sha256_hex = io::to_hex(io::sha256(parts->secret));
    stored.tenant = who == Who::stranger ? "other" : "acme";
    stored.subject = who == Who::writer ? "wendy" : "rose";
    stored.scopes = static_cast<std::uint8_t>(server::Scope::read);
    if (who == Who::writer) stored.scopes |= static_cast<std::uint8_t>(server::Scope::push);
    by_id_.emplace(stored.id, stored);
  }
}

io::Task<io::Result<std::optional<server::StoredToken>>> SimTokens::find(std::string id) {
  const io::Instant now = io::EventLoop::current().now();
  (void)co_await io::sleep_until(io::Deadline::after(now, random_.duration_up_to(delay_max_)), {});
  if (random_.one_in(unavailable_odds_)) co_return io::fail(io::Errc::unavailable, "tokens");
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) co_return std::nullopt;
  co_return found->second;
}

}  // namespace weir::sim
