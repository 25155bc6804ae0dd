// A multi-pack-index of any content, with or without a .rev file: refused, or all it says can be
// asked. Before it: a byte for the hash, and two for how many bytes at the end are the .rev file.

#include <algorithm>
#include <cstdint>

#include "git/big_endian.h"
#include "git/multi_pack_index.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 3) return 0;
  const auto format = (data[0] & 1) != 0 ? git::ObjectFormat::sha256 : git::ObjectFormat::sha1;
  const std::span<const std::uint8_t> files(data + 3, bytes - 3);
  const std::size_t reverse_bytes = std::min<std::size_t>(git::be16(data + 1), files.size());
  const auto index = git::MultiPackIndex::open(files.first(files.size() - reverse_bytes),
                                               files.last(reverse_bytes), format);
  if (!index) return 0;
  for (std::uint32_t pack = 0; pack < index->packs(); ++pack) {
    WEIR_CHECK(!index->pack_name(pack).empty());
  }
  for (std::uint32_t position = 0; position < index->count(); ++position) {
    const git::ObjectId id = index->id_at(position);
    const auto found = index->find(id);
    WEIR_CHECK(!found || index->id_at(*found) == id);
    const auto place = index->place_at(position);
    WEIR_CHECK(!place || place->pack < index->packs());
    const auto of_bit = index->position_of_bit(position);
    WEIR_CHECK(!of_bit || (*of_bit < index->count() && index->has_order()));
  }
  WEIR_CHECK(!index->position_of_bit(index->count()));
  return 0;
}
