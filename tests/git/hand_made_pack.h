#pragma once
// A pack and its index written entry by entry, to hold what git would never write. Checksums are
// made up, but those that tie pack and index together agree.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "git/object_codec.h"
#include "tests/git/packed_repository.h"

namespace weir::git {

inline std::string big_endian(std::uint64_t number, unsigned bytes) {
  std::string out;
  while (bytes-- > 0) out += static_cast<char>(number >> (8 * bytes) & 0xff);
  return out;
}
inline std::string deflated(const std::string& content) {
  std::string stream;
  Deflater(6).deflate(bytes_of(content), stream);
  return stream;
}
// Type (or 6, 7 for deltas) and inflated size, as they open an entry.
inline std::string entry_header(unsigned kind, std::uint64_t size) {
  std::string out(1, static_cast<char>(kind << 4 | (size & 0x0f)));
  for (size >>= 4; size != 0; size >>= 7) {
    out.back() = static_cast<char>(out.back() | 0x80);
    out += static_cast<char>(size & 0x7f);
  }
  return out;
}
inline std::string whole_entry(ObjectType type, const std::string& content) {
  return entry_header(static_cast<unsigned>(type), content.size()) + deflated(content);
}
inline std::string delta_entry(unsigned kind, const std::string& reference,
                               const std::string& delta) {
  return entry_header(kind, delta.size()) + reference + deflated(delta);
}
// How far back the base of an OFS_DELTA begins.
inline std::string base_distance(std::uint64_t distance) {
  std::string out(1, static_cast<char>(distance & 0x7f));
  while ((distance >>= 7) != 0) out.insert(0, 1, static_cast<char>(0x80 | (--distance & 0x7f)));
  return out;
}

class HandMadePack {
 public:
  explicit HandMadePack(ObjectFormat format = ObjectFormat::sha1) : format_(format) {}

  // The nth entry added gets this name.
  ObjectId name(std::size_t n) const {
    ObjectId id;
    id.bytes = static_cast<std::uint8_t>(hash_bytes(format_));
    // Names in another order than offsets.
    const std::uint32_t mixed = static_cast<std::uint32_t>(n + 1) * 2654435761U;
    for (unsigned i = 0; i < 4; ++i) id.hash[i] = static_cast<std::uint8_t>(mixed >> (24 - 8 * i));
    id.hash[4] = static_cast<std::uint8_t>(n);
    id.hash[id.bytes - 1U] = 't';  // so that the trailer may complete a name that is cut short
    return id;
  }
  std::string name_bytes(std::size_t n) const {
    return {reinterpret_cast<const char*>(name(n).hash.data()), hash_bytes(format_)};
  }
  // Offset of the next entry.
  std::uint64_t end() const { return kPackHeaderBytes + entries_.size(); }
  // Returns its offset.
  std::uint64_t add(const std::string& entry) {
    offsets.push_back(end());
    entries_ += entry;
    return offsets.back();
  }
  std::string trailer() const { return std::string(hash_bytes(format_), 't'); }
  std::string pack() const {
    return "PACK" + big_endian(2, 4) + big_endian(offsets.size(), 4) + entries_ + trailer();
  }
  std::string index() const {
    std::vector<std::size_t> order(offsets.size());
    for (std::size_t n = 0; n < order.size(); ++n) order[n] = n;
    std::ranges::sort(order, {}, [this](std::size_t n) { return name(n); });
    std::string names, crcs, small, large;
    std::vector<std::uint32_t> fan_out(256);
    for (const std::size_t n : order) {
      names += name_bytes(n);
      crcs += big_endian(n, 4);
      if (offsets[n] >> 31 == 0) {
        small += big_endian(offsets[n], 4);
      } else {
        small += big_endian(0x80000000 | large.size() / 8, 4);
        large += big_endian(offsets[n], 8);
      }
      for (std::size_t i = name(n).hash[0]; i < 256; ++i) ++fan_out[i];
    }
    std::string out = "\377tOc" + big_endian(2, 4);
    for (const std::uint32_t count : fan_out) out += big_endian(count, 4);
    return out + names + crcs + small + large + trailer() + trailer();
  }
  PackBytes build() const { return {pack(), index(), ""}; }

  std::vector<std::uint64_t> offsets;  // what the index will say

 private:
  ObjectFormat format_;
  std::string entries_;
};

}  // namespace weir::git
