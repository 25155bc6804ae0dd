#include "git/chunk_table.h"

#include <algorithm>

#include "git/big_endian.h"

namespace weir::git {

io::Result<ChunkTable> ChunkTable::read(std::span<const std::uint8_t> file, std::size_t head_bytes,
                                        std::uint8_t chunks, std::size_t trailer_bytes) {
  constexpr std::size_t kRowBytes = 4 + 8;
  const std::size_t table_end = head_bytes + (std::size_t{chunks} + 1) * kRowBytes;
  if (file.size() < table_end + trailer_bytes) {
    return io::fail(io::Errc::corrupt, "chunks: too short for their table");
  }
  const std::size_t end = file.size() - trailer_bytes;
  ChunkTable table;
  table.chunks_.reserve(chunks);
  std::uint64_t least = table_end;
  for (std::size_t i = 0; i <= chunks; ++i) {
    const std::uint8_t* const row = file.data() + head_bytes + i * kRowBytes;
    const std::uint32_t name = be32(row);
    const std::uint64_t offset = be64(row + 4);
    if (offset < least || offset > end) {
      return io::fail(io::Errc::corrupt, "chunks: out of order or outside the file");
    }
    // A chunk ends where the next row's begins.
    if (i > 0) {
      Chunk& last = table.chunks_.back();
      last.bytes = file.subspan(least, offset - least);
    }
    least = offset;
    if ((name == 0) != (i == chunks)) return io::fail(io::Errc::corrupt, "chunks: not so many");
    if (i == chunks) break;
    if (table.chunk(name) != nullptr) return io::fail(io::Errc::corrupt, "chunks: one twice");
    table.chunks_.push_back({name, {}});
  }
  return table;
}

const ChunkTable::Chunk* ChunkTable::chunk(std::uint32_t name) const {
  const auto found = std::ranges::find(chunks_, name, &Chunk::name);
  return found == chunks_.end() ? nullptr : &*found;
}

std::optional<std::span<const std::uint8_t>> ChunkTable::find(std::string_view name) const {
  const Chunk* const found = chunk(be32(reinterpret_cast<const std::uint8_t*>(name.data())));
  if (found == nullptr) return std::nullopt;
  return found->bytes;
}

}  // namespace weir::git
