#include "git/name_table.h"

#include <cstring>

#include "git/big_endian.h"
#include "git/name_search.h"

namespace weir::git {

io::Result<NameTable> NameTable::open(std::span<const std::uint8_t> fan_out,
                                      std::span<const std::uint8_t> names, ObjectFormat format) {
  if (fan_out.size() != kFanOutBytes) return io::fail(io::Errc::corrupt, "names: no fan-out");
  std::uint32_t count = 0;
  for (std::size_t at = 0; at < kFanOutBytes; at += 4) {
    const std::uint32_t here = be32(fan_out.data() + at);
    if (here < count) return io::fail(io::Errc::corrupt, "names: a fan-out that falls");
    count = here;
  }
  if (names.size() != std::uint64_t{count} * hash_bytes(format)) {
    return io::fail(io::Errc::corrupt, "names: not as many as the fan-out says");
  }
  NameTable table;
  table.fan_out_ = fan_out;
  table.names_ = names;
  table.format_ = format;
  table.count_ = count;
  return table;
}

std::optional<std::uint32_t> NameTable::find(const ObjectId& id) const {
  const std::size_t width = hash_bytes(format_);
  if (id.bytes != width || count_ == 0) return std::nullopt;
  const std::size_t first = id.hash[0];
  const std::uint32_t low = first == 0 ? 0 : be32(fan_out_.data() + (first - 1) * 4);
  const std::uint32_t high = be32(fan_out_.data() + first * 4);
  return find_name(id, low, high,
                   [&](std::uint32_t position) { return names_.data() + position * width; });
}

bool NameTable::in_order() const {
  const std::size_t width = hash_bytes(format_);
  for (std::uint32_t position = 0; position < count_; ++position) {
    const std::uint8_t* const name = names_.data() + position * width;
    if (position != 0 && std::memcmp(name - width, name, width) >= 0) return false;
    const std::size_t first = *name;
    if (position >= be32(fan_out_.data() + first * 4)) return false;
    if (first != 0 && position < be32(fan_out_.data() + (first - 1) * 4)) return false;
  }
  return true;
}

ObjectId NameTable::id_at(std::uint32_t position) const {
  return ObjectId::from_bytes(names_.data() + position * hash_bytes(format_), format_);
}

}  // namespace weir::git
