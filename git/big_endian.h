#pragma once
// Numbers in network byte order, as git's files keep them, at any alignment. The caller has checked
// that the bytes are there.

#include <bit>
#include <cstdint>
#include <cstring>

namespace weir::git {

template <typename Number>
Number load_big_endian(const std::uint8_t* bytes) {
  Number number;
  std::memcpy(&number, bytes, sizeof number);
  if constexpr (std::endian::native == std::endian::little) number = std::byteswap(number);
  return number;
}
inline std::uint16_t be16(const std::uint8_t* bytes) {
  return load_big_endian<std::uint16_t>(bytes);
}
inline std::uint32_t be32(const std::uint8_t* bytes) {
  return load_big_endian<std::uint32_t>(bytes);
}
inline std::uint64_t be64(const std::uint8_t* bytes) {
  return load_big_endian<std::uint64_t>(bytes);
}

}  // namespace weir::git
