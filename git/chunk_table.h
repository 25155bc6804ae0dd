#pragma once
// ChunkTable: the table of contents of a file made of chunks. A view of mapped bytes, which outlive
// it and may be any bytes: chunks lie behind the table and before the file's checksum, in the
// table's order, and no two have one name. Immutable; any thread. At most 255 chunks.
// Format: gitformat-chunk(5).

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "io/error.h"

namespace weir::git {

class ChunkTable {
 public:
  // `head_bytes`: where the table begins; `trailer_bytes`: of the file's end that are no chunk.
  static io::Result<ChunkTable> read(std::span<const std::uint8_t> file, std::size_t head_bytes,
                                     std::uint8_t chunks, std::size_t trailer_bytes);

  // By its four letters; nullopt: there is none.
  std::optional<std::span<const std::uint8_t>> find(std::string_view name) const;
  // The same, where one that is missing is as good as an empty one.
  std::span<const std::uint8_t> find_or_empty(std::string_view name) const {
    return find(name).value_or(std::span<const std::uint8_t>{});
  }

 private:
  struct Chunk {
    std::uint32_t name;
    std::span<const std::uint8_t> bytes;
  };
  const Chunk* chunk(std::uint32_t name) const;

  std::vector<Chunk> chunks_;
};

}  // namespace weir::git
