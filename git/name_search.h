#pragma once
// A binary search among object names that rise, wherever they are stored.

#include <cstdint>
#include <cstring>
#include <optional>

#include "git/object_id.h"

namespace weir::git {

// The position of `id` among first <= position < last; `name_at(position)` are id.bytes bytes.
// Names that do not rise may not be found, never wrongly.
template <typename NameAt>
std::optional<std::uint32_t> find_name(const ObjectId& id, std::uint32_t first, std::uint32_t last,
                                       NameAt name_at) {
  while (first < last) {
    const std::uint32_t middle = first + (last - first) / 2;
    const int order = std::memcmp(id.hash.data(), name_at(middle), id.bytes);
    if (order == 0) return middle;
    if (order < 0) {
      last = middle;
    } else {
      first = middle + 1;
    }
  }
  return std::nullopt;
}

}  // namespace weir::git
