// A pack's index of any bytes, behind one that chooses the hash: opened or refused, and what was
// opened can be asked everything.

#include <cstdint>
#include <span>

#include "git/pack_index.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0) return 0;
  const auto format = (data[0] & 1) != 0 ? git::ObjectFormat::sha256 : git::ObjectFormat::sha1;
  const auto index = git::PackIndex::open({data + 1, bytes - 1}, format);
  if (!index) return 0;
  WEIR_CHECK(index->pack_checksum().size() == git::hash_bytes(format));
  for (std::uint32_t position = 0; position < index->count(); ++position) {
    const git::ObjectId id = index->id_at(position);
    if (const auto found = index->find(id)) WEIR_CHECK(index->id_at(*found) == id);
    index->offset_at(position);
    index->crc32_at(position);
  }
  git::ObjectId absent;
  absent.bytes = static_cast<std::uint8_t>(git::hash_bytes(format));
  for (const int byte : {0x00, 0x7f, 0xff}) {
    absent.hash.fill(static_cast<std::uint8_t>(byte));
    index->find(absent);
  }
  return 0;
}
