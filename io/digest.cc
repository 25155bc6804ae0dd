#include "io/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <memory>

#include "io/check.h"

namespace weir::io {
namespace {

// Fetched once: an implicit fetch in every EVP_Digest call costs more than a short message.
const EVP_MD* fetched_sha1() {
  static const EVP_MD* const method = EVP_MD_fetch(nullptr, "SHA1", nullptr);
  return method;
}
const EVP_MD* fetched_sha256() {
  static const EVP_MD* const method = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return method;
}

// Kept for the next message of the thread: making one costs as much as a short message. It holds
// nothing of the last but its digest.
EVP_MD_CTX* digest_context() {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  static thread_local const std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  return context.get();
}

template <typename Digest>
Digest digest(const EVP_MD* method, std::string_view message) {
  Digest out;
  unsigned int bytes = 0;
  EVP_MD_CTX* const context = digest_context();
  WEIR_CHECK(method != nullptr && context != nullptr);
  WEIR_CHECK(EVP_DigestInit_ex2(context, method, nullptr) == 1 &&
             EVP_DigestUpdate(context, message.data(), message.size()) == 1 &&
             EVP_DigestFinal_ex(context, out.data(), &bytes) == 1);
  WEIR_CHECK(bytes == out.size());
  return out;
}

template <typename Digest>
Digest hmac(const EVP_MD* method, std::string_view key, std::string_view message) {
  Digest out;
  unsigned int bytes = 0;
  WEIR_CHECK(method != nullptr);
  // An empty key must still be a pointer: nullptr would mean "the key of the last call".
  const char* key_data = key.empty() ? "" : key.data();
  WEIR_CHECK(HMAC(method, key_data, static_cast<int>(key.size()),
                  reinterpret_cast<const unsigned char*>(message.data()), message.size(),
                  out.data(), &bytes) != nullptr);
  WEIR_CHECK(bytes == out.size());
  return out;
}

}  // namespace

Sha1Digest sha1(std::string_view message) {
  return digest<Sha1Digest>(fetched_sha1(), message);
}

Sha256Digest sha256(std::string_view message) {
  return digest<Sha256Digest>(fetched_sha256(), message);
}

Sha1Digest hmac_sha1(std::string_view key, std::string_view message) {
  return hmac<Sha1Digest>(fetched_sha1(), key, message);
}

Sha256Digest hmac_sha256(std::string_view key, std::string_view message) {
  return hmac<Sha256Digest>(fetched_sha256(), key, message);
}

StreamedDigest::StreamedDigest(Kind kind) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* const method = kind == Kind::sha1 ? fetched_sha1() : fetched_sha256();
  WEIR_CHECK(method != nullptr && context_ != nullptr);
  WEIR_CHECK(EVP_DigestInit_ex2(context_.get(), method, nullptr) == 1);
}

void StreamedDigest::update(std::span<const std::uint8_t> bytes) {
  WEIR_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::array<std::uint8_t, 32> StreamedDigest::finish() {
  std::array<std::uint8_t, 32> out{};
  unsigned int bytes = 0;
  WEIR_CHECK(EVP_DigestFinal_ex(context_.get(), out.data(), &bytes) == 1);
  return out;
}

void StreamedDigest::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

void fill_random(std::span<std::uint8_t> bytes) {
  WEIR_CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1);
}

bool equal_constant_time(std::string_view left, std::string_view right) {
  return left.size() == right.size() &&
         (left.empty() || CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0);
}

void wipe(std::span<std::uint8_t> secret) {
  OPENSSL_cleanse(secret.data(), secret.size());
}

std::string to_hex(std::span<const std::uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace weir::io
