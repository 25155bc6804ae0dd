#pragma once
// ObjectId: the name of a Git object in either hash format. A value; hex is lower case.

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace weir::git {

enum class ObjectFormat : std::uint8_t { sha1, sha256 };

// 0..15, or -1. Both cases, as git reads them.
int hex_value(char c);

constexpr std::size_t hash_bytes(ObjectFormat format) {
  return format == ObjectFormat::sha1 ? 20 : 32;
}
constexpr std::string_view format_name(ObjectFormat format) {
  return format == ObjectFormat::sha1 ? "sha1" : "sha256";
}

struct ObjectId {
  std::array<std::uint8_t, 32> hash{};  // the first `bytes` count, the rest is zero
  std::uint8_t bytes = 0;               // 20 or 32; 0: no object

  bool is_null() const {
    for (const std::uint8_t byte : hash) {
      if (byte != 0) return false;
    }
    return true;
  }
  friend bool operator==(const ObjectId&, const ObjectId&) = default;
  friend auto operator<=>(const ObjectId&, const ObjectId&) = default;

  // `hash` has hash_bytes(format) bytes.
  static ObjectId from_bytes(const std::uint8_t* hash, ObjectFormat format) {
    ObjectId id;
    id.bytes = static_cast<std::uint8_t>(hash_bytes(format));
    std::memcpy(id.hash.data(), hash, id.bytes);
    return id;
  }
  // Exactly 40 or 64 hex digits; nullopt otherwise.
  static std::optional<ObjectId> from_hex(std::string_view hex);
  std::string to_hex() const;
  // Writes 2 * bytes digits.
  void to_hex(char* out) const;
};

// Clients choose ids freely, so tables of them are hashed under a key of this process: nobody can
// make ids that meet in one bucket.
struct ObjectIdHash {
  std::size_t operator()(const ObjectId& id) const;
};

}  // namespace weir::git
