#pragma once
// ReencodeStore: pack entries made anew, so that they are paid once: objects deflated whole, and
// deltas found, by object and base. Also which pairs are not worth a delta. Belongs to the view
// whose numbers it goes by. When kReencodedBytesMax is reached the half leaves that was not
// used since it was half full. One thread.
// Format of entries: gitformat-pack(5).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "git/object_store.h"

namespace weir::git {

inline constexpr std::uint64_t kReencodedBytesMax = 64UL * 1024 * 1024;
inline constexpr ObjectNumber kNoObject = 0xffffffff;

// Where a pack entry's header has its type: of an object, kOfsDelta or kRefDelta.
inline constexpr unsigned kEntryTypeShift = 4;
void append_entry_header(std::string& out, unsigned type, std::uint64_t size);

class ReencodeStore {
 public:
  // Type and size as in a pack, then deflated data; a delta as kRefDelta, without the reference.
  // Empty: this pair is not worth a delta.
  using Entry = std::shared_ptr<const std::string>;

  // `base`: kNoObject for whole objects. Null: not there.
  Entry find(ObjectNumber object, ObjectNumber base);
  Entry keep(ObjectNumber object, ObjectNumber base, std::string entry);

 private:
  void add(std::uint64_t key, const Entry& entry);
  static std::uint64_t key(ObjectNumber object, ObjectNumber base) {
    return std::uint64_t{object} << 32 | base;
  }
  std::unordered_map<std::uint64_t, Entry> young_, old_;
  std::uint64_t young_bytes_ = 0;
};

}  // namespace weir::git
