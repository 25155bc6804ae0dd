#pragma once
// Files of network byte order, written by tests: put together, or taken from git and patched.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weir::git {

class BigEndianBytes {
 public:
  BigEndianBytes() = default;
  explicit BigEndianBytes(std::string bytes) : bytes_(std::move(bytes)) {}

  BigEndianBytes& u8(std::uint64_t value) { return put(value, 1); }
  BigEndianBytes& u16(std::uint64_t value) { return put(value, 2); }
  BigEndianBytes& u32(std::uint64_t value) { return put(value, 4); }
  BigEndianBytes& u64(std::uint64_t value) { return put(value, 8); }
  BigEndianBytes& text(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  BigEndianBytes& fill(std::size_t count, char byte) {
    bytes_.append(count, byte);
    return *this;
  }
  BigEndianBytes& set_u8(std::size_t at, std::uint64_t value) { return set(at, value, 1); }
  BigEndianBytes& set_u32(std::size_t at, std::uint64_t value) { return set(at, value, 4); }
  BigEndianBytes& set_u64(std::size_t at, std::uint64_t value) { return set(at, value, 8); }

  std::size_t size() const { return bytes_.size(); }
  const std::string& str() const { return bytes_; }
  std::string& str() { return bytes_; }
  // Valid as long as this is neither changed nor moved.
  std::span<const std::uint8_t> span() const {
    return {reinterpret_cast<const std::uint8_t*>(bytes_.data()), bytes_.size()};
  }

 private:
  static std::string big_endian(std::uint64_t value, unsigned bytes) {
    std::string out;
    for (unsigned i = bytes; i-- > 0;) out += static_cast<char>(value >> (8 * i) & 0xff);
    return out;
  }
  BigEndianBytes& put(std::uint64_t value, unsigned bytes) {
    bytes_ += big_endian(value, bytes);
    return *this;
  }
  BigEndianBytes& set(std::size_t at, std::uint64_t value, unsigned bytes) {
    bytes_.replace(at, bytes, big_endian(value, bytes));
    return *this;
  }

  std::string bytes_;
};

}  // namespace weir::git
