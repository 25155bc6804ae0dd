#include "server/verified_tokens.h"

#include <cstring>

namespace weir::server {
namespace {

std::string_view text(const VerifiedTokens::Key& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

}  // namespace

std::size_t VerifiedTokens::place(const Key& key) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, key.data(), sizeof bits);
  return bits & (kVerifiedTokens - 1);
}

const Principal* VerifiedTokens::find(const Key& key, std::uint64_t store_version,
                                      std::int64_t now_unix_s) const {
  const Entry& entry = entries_[place(key)];
  const Principal& principal = entry.principal;
  const bool expired = principal.expires_unix_s != 0 && principal.expires_unix_s <= now_unix_s;
  const bool found = !principal.anonymous() && entry.store_version == store_version && !expired &&
                     io::equal_constant_time(text(entry.key), text(key));
  (found ? hits_ : misses_).add();
  return found ? &principal : nullptr;
}

void VerifiedTokens::remember(const Key& key, std::uint64_t store_version,
                              const Principal& principal) {
  entries_[place(key)] = {key, store_version, principal};
}

void VerifiedTokens::clear() {
  entries_.assign(kVerifiedTokens, {});
}

}  // namespace weir::server
