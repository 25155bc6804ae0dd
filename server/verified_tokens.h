#pragma once
// VerifiedTokens: Authorization values that were found valid lately, so that the next request of
// the same client costs one digest instead of a parse, a look-up and three. A value is kept as its
// SHA-256 only: what the token file holds of a secret, and no more useful to who reads our memory.
// (The value itself, compared in constant time, would be cheaper still, but would stand in memory
// for as long as a client stays connected.) An entry counts while the store has the version it had
// before it was asked, and until the token expires, so revocation and expiry are as prompt as
// without the table. Wrong values are never kept: each of them is looked up and damped.
// Direct-mapped and bounded: kVerifiedTokens entries a loop; of two that meet the newer stays.
// Owned by its Pipeline; loop thread only.

#include <cstdint>
#include <string_view>
#include <vector>

#include "io/digest.h"
#include "io/metrics.h"
#include "server/principal.h"

namespace weir::server {

inline constexpr std::size_t kVerifiedTokens = 512;  // ~100 KiB
static_assert((kVerifiedTokens & (kVerifiedTokens - 1)) == 0);

class VerifiedTokens {
 public:
  using Key = io::Sha256Digest;
  static Key key_of(std::string_view authorization) { return io::sha256(authorization); }

  // nullptr: not known, or not any more. Valid until the next call.
  const Principal* find(const Key& key, std::uint64_t store_version, std::int64_t now_unix_s) const;
  // `store_version`: read before the store was asked.
  void remember(const Key& key, std::uint64_t store_version, const Principal& principal);
  void clear();

 private:
  struct Entry {
    Key key{};
    std::uint64_t store_version = 0;
    Principal principal;  // anonymous: the place is free
  };
  static std::size_t place(const Key& key);

  std::vector<Entry> entries_ = std::vector<Entry>(kVerifiedTokens);
  io::Counter hits_ = io::Metrics::instance().counter(
      "weir_verified_tokens_total", "result=\"hit\"", "Tokens looked for among those verified.");
  io::Counter misses_ = io::Metrics::instance().counter(
      "weir_verified_tokens_total", "result=\"miss\"", "Tokens looked for among those verified.");
};

}  // namespace weir::server
