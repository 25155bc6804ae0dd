// A .bitmap file of any content: refused, or every set it promises is given or refused. Before the
// file: a byte for the hash and two for the number of objects.

#include <cstdint>

#include "git/big_endian.h"
#include "git/reachability_bitmap.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 3) return 0;
  const auto format = (data[0] & 1) != 0 ? git::ObjectFormat::sha256 : git::ObjectFormat::sha1;
  const std::uint32_t objects = git::be16(data + 1) & 0x0fff;  // many would only make it slow
  const std::span<const std::uint8_t> file(data + 3, bytes - 3);
  if (file.size() < 12 + git::hash_bytes(format)) return 0;
  const auto bitmap = git::ReachabilityBitmap::open(file, format, objects,
                                                    file.subspan(12, git::hash_bytes(format)));
  if (!bitmap) return 0;
  std::uint64_t of_types = 0;
  for (const git::ObjectType type : {git::ObjectType::commit, git::ObjectType::tree,
                                     git::ObjectType::blob, git::ObjectType::tag}) {
    of_types += (*bitmap)->of_type(type).count();
  }
  WEIR_CHECK(of_types == objects);
  std::uint32_t entries = 0;
  for (std::uint32_t position = 0; position < objects; ++position) {
    const auto set = (*bitmap)->reachable_from(position);
    const bool has = (*bitmap)->has(position);
    WEIR_CHECK(!set || set->has_value() == has);
    entries += has ? 1 : 0;
    if (!set || !*set) continue;
    WEIR_CHECK((*set)->words().size() == (std::size_t{objects} + 63) / 64);
    (*set)->for_each([&](std::uint32_t bit) { WEIR_CHECK(bit < objects); });
  }
  WEIR_CHECK(entries == (*bitmap)->entries());
  return 0;
}
