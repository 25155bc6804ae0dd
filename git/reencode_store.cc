#include "git/reencode_store.h"

#include <utility>

namespace weir::git {
namespace {

constexpr std::uint64_t kBytesBeside = 128;  // what the table takes for one

}  // namespace

void append_entry_header(std::string& out, unsigned type, std::uint64_t size) {
  auto byte = static_cast<std::uint8_t>(type << kEntryTypeShift | (size & 0x0f));
  size >>= 4;
  while (size != 0) {
    out.push_back(static_cast<char>(byte | 0x80));
    byte = size & 0x7f;
    size >>= 7;
  }
  out.push_back(static_cast<char>(byte));
}

ReencodeStore::Entry ReencodeStore::find(ObjectNumber object, ObjectNumber base) const {
  for (const auto* part : {&young_, &old_}) {
    const auto found = part->find(key(object, base));
    if (found != part->end()) return found->second;
  }
  return nullptr;
}

ReencodeStore::Entry ReencodeStore::keep(ObjectNumber object, ObjectNumber base,
                                         std::string entry) {
  young_bytes_ += entry.size() + kBytesBeside;
  Entry kept = std::make_shared<const std::string>(std::move(entry));
  young_.emplace(key(object, base), kept);
  if (young_bytes_ > kReencodedBytesMax / 2) {
    old_ = std::exchange(young_, {});
    young_bytes_ = 0;
  }
  return kept;
}

}  // namespace weir::git
