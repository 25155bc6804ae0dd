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

ReencodeStore::Entry ReencodeStore::find(ObjectNumber object, ObjectNumber base) {
  const auto found = young_.find(key(object, base));
  if (found != young_.end()) return found->second;
  const auto used = old_.extract(key(object, base));
  if (used.empty()) return nullptr;
  add(used.key(), used.mapped());
  return used.mapped();
}

ReencodeStore::Entry ReencodeStore::keep(ObjectNumber object, ObjectNumber base,
                                         std::string entry) {
  Entry kept = std::make_shared<const std::string>(std::move(entry));
  add(key(object, base), kept);
  return kept;
}

void ReencodeStore::add(std::uint64_t key, const Entry& entry) {
  young_.emplace(key, entry);
  young_bytes_ += entry->size() + kBytesBeside;
  if (young_bytes_ <= kReencodedBytesMax / 2) return;
  old_ = std::exchange(young_, {});
  young_bytes_ = 0;
}

}  // namespace weir::git
