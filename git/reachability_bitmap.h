#pragma once
// ReachabilityBitmap: the .bitmap file of a pack or of a multi-pack-index: for some commits, the
// set of all objects they reach, and for each object its type. A view of mapped bytes, which
// outlive it and may be any bytes. Bits are ranks of the pack (git/pack.h), or places in the
// multi-pack-index's order of packs (git/multi_pack_index.h). Decoded sets are not kept here.
// Immutable after open(); one thread. Planner processes only. Format: git's bitmap-format document,
// version 1; the lookup table is used where there is one, the cache of name hashes and sets of many
// tips at once (pseudo-merges) are passed over; flags we do not know are Errc::invalid. Whether a
// set is true cannot be told from here, and the file's own checksum is not verified: like a pack's
// index, the file is git's word for what the pack holds.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "git/ewah.h"
#include "git/object_id.h"
#include "git/object_set.h"
#include "git/object_type.h"
#include "io/error.h"

namespace weir::git {

inline constexpr unsigned kBitmapXorOffsetMax = 160;  // git's own: how far back one step goes
// Git does not bound the number of steps. Each visits the words of one entry, so this is time: a
// repository of a million objects has 16,000 words. More is Errc::corrupt.
inline constexpr unsigned kBitmapXorChainMax = 4096;

class ReachabilityBitmap {
 public:
  // `objects`: how many bits a set has. `checksum`: of the pack (its trailer) or the
  // multi-pack-index that it must belong to. Entries name commits by their position in the sorted
  // names (of the pack's index, or of the multi-pack-index).
  static io::Result<std::unique_ptr<ReachabilityBitmap>> open(
      std::span<const std::uint8_t> file, ObjectFormat format, std::uint32_t objects,
      std::span<const std::uint8_t> checksum);

  std::uint32_t entries() const { return entries_; }
  // Whether the commit at this position of the sorted names has a set of its own.
  bool has(std::uint32_t commit_position) const { return row_of(commit_position).has_value(); }
  // Its set, of `objects` bits; nullopt: it has none. Follows the chain of XORs.
  io::Result<std::optional<ObjectSet>> reachable_from(std::uint32_t commit_position) const;
  // All objects of that type. Every object is in exactly one of the four.
  const ObjectSet& of_type(ObjectType type) const {
    return types_[static_cast<std::size_t>(type) - 1];
  }

 private:
  static constexpr std::uint32_t kNoRow = 0xffffffff;
  // An entry as the lookup table describes it; rows are sorted by commit.
  struct Row {
    std::uint32_t commit;
    std::uint32_t base;    // the row whose set is XORed with this one, or kNoRow
    std::uint64_t offset;  // of the entry in the file
  };

  ReachabilityBitmap() = default;
  // Each takes what it names from the front or the back of body_.
  io::Result<void> take_sections(std::uint16_t flags);
  io::Result<void> take_types();
  io::Result<void> scan_entries();
  io::Result<void> check_rows() const;
  Row row_at(std::uint32_t row) const;
  std::optional<std::uint32_t> row_of(std::uint32_t commit_position) const;
  io::Result<void> xor_entry(const Row& row, ObjectSet& set) const;

  std::span<const std::uint8_t> file_;
  std::span<const std::uint8_t> body_;   // between header and checksum; in the end the entries
  std::span<const std::uint8_t> table_;  // the lookup table; else rows_ has been made
  std::vector<Row> rows_;
  std::uint32_t entries_ = 0;
  std::uint32_t objects_ = 0;
  std::array<ObjectSet, 4> types_;
};

}  // namespace weir::git
