#include "git/pack_index.h"

#include <cstring>

#include "git/big_endian.h"
#include "git/name_search.h"

namespace weir::git {
namespace {

constexpr std::uint32_t kMagic = 0xff744f63;  // "\377tOc"; version 1 has none
constexpr std::size_t kHeaderBytes = 8;
constexpr std::size_t kFanOutBytes = 256 * 4;
constexpr std::uint32_t kLargeOffset = 0x80000000;

// The last fan-out is the count; nullopt where it falls.
std::optional<std::uint32_t> read_fan_out(const std::uint8_t* fan_out) {
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < 256; ++i) {
    const std::uint32_t next = be32(fan_out + 4 * i);
    if (next < count) return std::nullopt;
    count = next;
  }
  return count;
}

std::size_t header_bytes(std::uint8_t version) {
  return version == 1 ? 0 : kHeaderBytes;
}

}  // namespace

io::Result<PackIndex> PackIndex::open(std::span<const std::uint8_t> file, ObjectFormat format) {
  PackIndex index;
  index.file_ = file;
  index.format_ = format;
  const std::size_t hash = hash_bytes(format);
  if (file.size() < kHeaderBytes + kFanOutBytes) return io::fail(io::Errc::corrupt, "pack index");
  if (be32(file.data()) != kMagic) {
    index.version_ = 1;
  } else if (be32(file.data() + 4) != 2) {
    return io::fail(io::Errc::corrupt, "version of a pack index");
  }
  const std::optional<std::uint32_t> count =
      read_fan_out(file.data() + header_bytes(index.version_));
  if (!count) return io::fail(io::Errc::corrupt, "fan-out of a pack index");
  index.count_ = *count;
  const std::uint64_t entry_bytes = index.version_ == 1 ? 4 + hash : hash + 8;
  const std::uint64_t bytes =
      header_bytes(index.version_) + kFanOutBytes + *count * entry_bytes + 2 * hash;
  if (file.size() < bytes) return io::fail(io::Errc::corrupt, "pack index is cut short");
  const std::uint64_t more = file.size() - bytes;
  index.large_offsets_ = more / 8;
  if (more % 8 != 0 || index.large_offsets_ > (index.version_ == 1 ? 0 : *count)) {
    return io::fail(io::Errc::corrupt, "size of a pack index");
  }
  return index;
}

const std::uint8_t* PackIndex::name_at(std::uint32_t position) const {
  const std::size_t hash = hash_bytes(format_);
  const std::uint8_t* const entries = file_.data() + header_bytes(version_) + kFanOutBytes;
  return version_ == 1 ? entries + position * (4 + hash) + 4 : entries + position * hash;
}

std::optional<std::uint32_t> PackIndex::find(const ObjectId& id) const {
  if (id.bytes != hash_bytes(format_)) return std::nullopt;
  const std::uint8_t* const fan_out = file_.data() + header_bytes(version_);
  const std::size_t first_byte = id.hash[0];
  const std::uint32_t first = first_byte == 0 ? 0 : be32(fan_out + 4 * (first_byte - 1));
  const std::uint32_t last = be32(fan_out + 4 * first_byte);
  return find_name(id, first, last, [this](std::uint32_t position) { return name_at(position); });
}

ObjectId PackIndex::id_at(std::uint32_t position) const {
  return ObjectId::from_bytes(name_at(position), format_);
}

std::optional<std::uint64_t> PackIndex::offset_at(std::uint32_t position) const {
  if (version_ == 1) return be32(name_at(position) - 4);
  const std::uint8_t* const offsets = name_at(count_) + std::size_t{count_} * 4;
  const std::uint32_t offset = be32(offsets + std::size_t{position} * 4);
  if ((offset & kLargeOffset) == 0) return offset;
  const std::size_t large = offset & ~kLargeOffset;
  if (large >= large_offsets_) return std::nullopt;
  return be64(offsets + (count_ + 2 * large) * 4);
}

std::optional<std::uint32_t> PackIndex::crc32_at(std::uint32_t position) const {
  if (version_ == 1) return std::nullopt;
  return be32(name_at(count_) + std::size_t{position} * 4);
}

std::span<const std::uint8_t> PackIndex::pack_checksum() const {
  const std::size_t hash = hash_bytes(format_);
  return file_.last(2 * hash).first(hash);
}

}  // namespace weir::git
