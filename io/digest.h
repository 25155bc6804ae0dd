#pragma once
// Digests, random bytes and comparisons that do not leak time; over OpenSSL, whose headers stay in
// digest.cc. Any thread; no state but that of a StreamedDigest. A failure of the library itself (no
// memory, no entropy) is not answerable and ends the process.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace weir::io {

using Sha1Digest = std::array<std::uint8_t, 20>;
using Sha256Digest = std::array<std::uint8_t, 32>;

Sha1Digest sha1(std::string_view message);
Sha256Digest sha256(std::string_view message);
Sha1Digest hmac_sha1(std::string_view key, std::string_view message);
Sha256Digest hmac_sha256(std::string_view key, std::string_view message);

// A digest of bytes that come in pieces. One user at a time.
class StreamedDigest {
 public:
  enum class Kind : std::uint8_t { sha1, sha256 };
  explicit StreamedDigest(Kind kind);
  void update(std::span<const std::uint8_t> bytes);
  // Once, after the last update. Of SHA-1 the first 20 bytes count, the rest is zero.
  std::array<std::uint8_t, 32> finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// From the library's generator, seeded by the kernel: fit for keys and tokens.
void fill_random(std::span<std::uint8_t> bytes);
// Takes the same time wherever the bytes differ; the lengths are not secret.
bool equal_constant_time(std::string_view left, std::string_view right);
// Zeroes in a way the compiler may not drop.
void wipe(std::span<std::uint8_t> secret);

std::string to_hex(std::span<const std::uint8_t> bytes);  // lower case

}  // namespace weir::io
