#pragma once
// Files made of chunks, true and false ones, written by tests.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/git/big_endian_bytes.h"

namespace weir::git {

struct ChunkFile {
  std::string head;
  std::vector<std::pair<std::string, std::string>> chunks;
  std::string trailer = std::string(20, 't');

  // One that git wrote, with a head of so many bytes.
  static ChunkFile of(const std::string& file, std::size_t head_bytes) {
    const auto number = [&file](std::size_t at, std::size_t bytes) {
      std::size_t value = 0;
      while (bytes-- != 0) value = value << 8 | static_cast<std::uint8_t>(file[at++]);
      return value;
    };
    ChunkFile taken{
        .head = file.substr(0, head_bytes), .chunks = {}, .trailer = file.substr(file.size() - 20)};
    for (std::size_t row = head_bytes; number(row, 4) != 0; row += 12) {
      const std::size_t begin = number(row + 4, 8), end = number(row + 16, 8);
      taken.chunks.emplace_back(file.substr(row, 4), file.substr(begin, end - begin));
    }
    return taken;
  }
  std::string& chunk(const std::string& name) {
    return std::ranges::find(chunks, name, &std::pair<std::string, std::string>::first)->second;
  }
  void remove(const std::string& name) {
    std::erase_if(chunks, [&](const auto& chunk) { return chunk.first == name; });
  }
  BigEndianBytes bytes() const {
    BigEndianBytes out(head);
    std::size_t offset = head.size() + 12 * (chunks.size() + 1);
    for (const auto& [name, content] : chunks) {
      out.text(name).u64(offset);
      offset += content.size();
    }
    out.u32(0).u64(offset);
    for (const auto& [name, content] : chunks) out.text(content);
    return out.text(trailer);
  }
};

// A fan-out of names that begin with these bytes.
inline std::string fan_out(const std::vector<std::uint8_t>& first_bytes) {
  BigEndianBytes out;
  for (unsigned byte = 0; byte < 256; ++byte) {
    out.u32(static_cast<std::uint64_t>(
        std::ranges::count_if(first_bytes, [&](std::uint8_t first) { return first <= byte; })));
  }
  return out.str();
}

}  // namespace weir::git
