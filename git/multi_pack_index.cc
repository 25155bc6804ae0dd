#include "git/multi_pack_index.h"

#include <algorithm>

#include "git/big_endian.h"
#include "git/chunk_table.h"

namespace weir::git {
namespace {

constexpr std::size_t kHeadBytes = 12;
constexpr std::size_t kReverseHeadBytes = 12;
constexpr std::uint32_t kFarBit = 0x80000000;

std::unexpected<io::Error> corrupt(const char* where) {
  return io::fail(io::Errc::corrupt, where);
}

std::uint32_t hash_number(ObjectFormat format) {
  return format == ObjectFormat::sha1 ? 1 : 2;
}

}  // namespace

io::Result<MultiPackIndex> MultiPackIndex::open(std::span<const std::uint8_t> file,
                                                std::span<const std::uint8_t> reverse_index,
                                                ObjectFormat format) {
  const std::size_t hash = hash_bytes(format);
  if (file.size() < kHeadBytes + hash) return corrupt("multi-pack-index: too short");
  if (be32(file.data()) != 0x4d494458) return corrupt("multi-pack-index: not one");  // "MIDX"
  if (file[4] != 1) return io::fail(io::Errc::invalid, "multi-pack-index: version");
  if (file[5] != hash_number(format)) {
    return io::fail(io::Errc::invalid, "multi-pack-index: of another hash");
  }
  if (file[7] != 0) return io::fail(io::Errc::invalid, "multi-pack-index: one of a chain");
  const io::Result<ChunkTable> chunks = ChunkTable::read(file, kHeadBytes, file[6], hash);
  if (!chunks) return std::unexpected(chunks.error());

  MultiPackIndex index;
  index.checksum_ = file.last(hash);
  const io::Result<NameTable> names =
      NameTable::open(chunks->find_or_empty("OIDF"), chunks->find_or_empty("OIDL"), format);
  if (!names) return std::unexpected(names.error());
  index.names_ = *names;
  index.offsets_ = chunks->find_or_empty("OOFF");
  if (index.offsets_.size() != std::uint64_t{index.count()} * 8) {
    return corrupt("multi-pack-index: not an offset for each object");
  }
  const auto far_offsets = chunks->find("LOFF");
  index.has_far_offsets_ = far_offsets.has_value();
  index.far_offsets_ = chunks->find_or_empty("LOFF");
  if (auto read = index.read_pack_names(chunks->find_or_empty("PNAM"), be32(file.data() + 8));
      !read) {
    return std::unexpected(read.error());
  }
  if (const auto order = chunks->find("RIDX")) {
    if (order->size() != std::uint64_t{index.count()} * 4) {
      return corrupt("multi-pack-index: size of the order");
    }
    index.order_ = *order;
  } else if (!reverse_index.empty()) {
    if (auto read = index.read_reverse_index(reverse_index, format); !read) {
      return std::unexpected(read.error());
    }
  }
  return index;
}

io::Result<void> MultiPackIndex::read_pack_names(std::span<const std::uint8_t> chunk,
                                                 std::uint32_t packs) {
  if (packs > chunk.size() / 2) return corrupt("multi-pack-index: more packs than names");
  packs_.reserve(packs);
  std::string_view rest(reinterpret_cast<const char*>(chunk.data()), chunk.size());
  std::string_view last;
  for (std::uint32_t pack = 0; pack < packs; ++pack) {
    const std::size_t end = rest.find('\0');
    if (end == std::string_view::npos) return corrupt("multi-pack-index: a name without end");
    const std::string_view name = rest.substr(0, end);
    if (name <= last) return corrupt("multi-pack-index: names of packs out of order");
    packs_.push_back(last = name);
    rest.remove_prefix(end + 1);
  }
  return {};  // the rest is padding
}

io::Result<void> MultiPackIndex::read_reverse_index(std::span<const std::uint8_t> file,
                                                    ObjectFormat format) {
  const std::size_t table = std::size_t{count()} * 4;
  if (file.size() != kReverseHeadBytes + table + 2 * hash_bytes(format)) {
    return corrupt("multi-pack-index: size of the .rev file");
  }
  if (be32(file.data()) != 0x52494458) return corrupt("multi-pack-index: no .rev file");  // "RIDX"
  if (be32(file.data() + 4) != 1 || be32(file.data() + 8) != hash_number(format)) {
    return io::fail(io::Errc::invalid, "multi-pack-index: version or hash of the .rev file");
  }
  if (!std::ranges::equal(file.subspan(kReverseHeadBytes + table, checksum_.size()), checksum_)) {
    return corrupt("multi-pack-index: a .rev file of another one");
  }
  order_ = file.subspan(kReverseHeadBytes, table);
  return {};
}

std::optional<MultiPackIndex::Place> MultiPackIndex::place_at(std::uint32_t position) const {
  const std::uint8_t* const row = offsets_.data() + std::size_t{position} * 8;
  Place place{.pack = be32(row), .offset = be32(row + 4)};
  if (place.pack >= packs_.size()) return std::nullopt;
  // Without far offsets all 32 bits are the offset.
  if (has_far_offsets_ && (place.offset & kFarBit) != 0) {
    const std::size_t far = place.offset & ~std::uint64_t{kFarBit};
    if (far >= far_offsets_.size() / 8) return std::nullopt;
    place.offset = be64(far_offsets_.data() + far * 8);
  }
  return place;
}

std::optional<std::uint32_t> MultiPackIndex::position_of_bit(std::uint32_t bit) const {
  if (bit >= order_.size() / 4) return std::nullopt;
  const std::uint32_t position = be32(order_.data() + std::size_t{bit} * 4);
  if (position >= count()) return std::nullopt;
  return position;
}

}  // namespace weir::git
