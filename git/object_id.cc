#include "git/object_id.h"

#include <cstring>
#include <span>

#include "io/digest.h"

namespace weir::git {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

namespace {

constexpr std::size_t kHashWords = sizeof(ObjectId::hash) / sizeof(std::uint32_t);
using HashKey = std::array<std::uint64_t, kHashWords + 1>;

HashKey make_hash_key() {
  std::array<std::uint8_t, sizeof(HashKey)> random{};
  io::fill_random(random);
  HashKey key{};
  std::memcpy(key.data(), random.data(), sizeof key);
  return key;
}

}  // namespace

// Multilinear hashing: the upper half of k0 + k1 w1 + ... + kn wn is strongly universal.
std::size_t ObjectIdHash::operator()(const ObjectId& id) const {
  static const HashKey key = make_hash_key();
  std::array<std::uint32_t, kHashWords> words;
  std::memcpy(words.data(), id.hash.data(), sizeof words);
  std::uint64_t sum = key[kHashWords];
  for (std::size_t i = 0; i < kHashWords; ++i) sum += key[i] * words[i];
  return sum >> 32;
}

std::optional<ObjectId> ObjectId::from_hex(std::string_view hex) {
  if (hex.size() != 40 && hex.size() != 64) return std::nullopt;
  ObjectId id;
  id.bytes = static_cast<std::uint8_t>(hex.size() / 2);
  for (std::size_t i = 0; i < id.bytes; ++i) {
    const int high = hex_value(hex[2 * i]);
    const int low = hex_value(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    id.hash[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return id;
}

void ObjectId::to_hex(char* out) const {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (std::size_t i = 0; i < bytes; ++i) {
    out[2 * i] = kDigits[hash[i] >> 4];
    out[2 * i + 1] = kDigits[hash[i] & 15];
  }
}

std::string ObjectId::to_hex() const {
  std::string text(std::size_t{2} * bytes, '0');
  to_hex(text.data());
  return text;
}

}  // namespace weir::git
