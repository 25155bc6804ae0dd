#include "git/reachability_bitmap.h"

#include <algorithm>
#include <numeric>
#include <ranges>

#include "git/big_endian.h"

namespace weir::git {
namespace {

constexpr std::size_t kHeadBytes = 12;  // without the checksum that ends the header
constexpr std::size_t kTableRowBytes = 4 + 8 + 4;
constexpr std::size_t kEntryHeadBytes = 4 + 1 + 1;
constexpr std::size_t kEwahBytesMin = 12;
constexpr std::size_t kPseudoMergeBytesMin = 4 + 4 + 8 + 8;

constexpr std::uint16_t kFullDag = 0x1;
constexpr std::uint16_t kHashCache = 0x4;
constexpr std::uint16_t kLookupTable = 0x10;
constexpr std::uint16_t kPseudoMerges = 0x20;

std::unexpected<io::Error> corrupt(const char* where) {
  return io::fail(io::Errc::corrupt, where);
}

}  // namespace

io::Result<std::unique_ptr<ReachabilityBitmap>> ReachabilityBitmap::open(
    std::span<const std::uint8_t> file, ObjectFormat format, std::uint32_t objects,
    std::span<const std::uint8_t> checksum) {
  const std::size_t hash = hash_bytes(format);
  if (file.size() < kHeadBytes + 2 * hash) return corrupt("bitmap: too short");
  if (be32(file.data()) != 0x4249544d) return corrupt("bitmap: not a bitmap");  // "BITM"
  if (be16(file.data() + 4) != 1) return io::fail(io::Errc::invalid, "bitmap: version");
  const std::uint16_t flags = be16(file.data() + 6);
  if ((flags & kFullDag) == 0 ||
      (flags & ~(kFullDag | kHashCache | kLookupTable | kPseudoMerges))) {
    return io::fail(io::Errc::invalid, "bitmap: flags");
  }
  if (!std::ranges::equal(file.subspan(kHeadBytes, hash), checksum)) {
    return corrupt("bitmap: of another pack");
  }
  std::unique_ptr<ReachabilityBitmap> bitmap(new ReachabilityBitmap);
  bitmap->file_ = file;
  bitmap->body_ = file.subspan(kHeadBytes + hash, file.size() - kHeadBytes - 2 * hash);
  bitmap->entries_ = be32(file.data() + 8);
  bitmap->objects_ = objects;
  if (auto taken = bitmap->take_sections(flags); !taken) return std::unexpected(taken.error());
  if (auto taken = bitmap->take_types(); !taken) return std::unexpected(taken.error());
  if (bitmap->entries_ > bitmap->body_.size() / (kEntryHeadBytes + kEwahBytesMin)) {
    return corrupt("bitmap: more entries than bytes");
  }
  if ((flags & kLookupTable) == 0) {
    if (auto scanned = bitmap->scan_entries(); !scanned) return std::unexpected(scanned.error());
  }
  if (auto checked = bitmap->check_rows(); !checked) return std::unexpected(checked.error());
  return bitmap;
}

// From the end of the file: name hashes, lookup table, pseudo-merges.
io::Result<void> ReachabilityBitmap::take_sections(std::uint16_t flags) {
  const auto take_back = [this](std::uint64_t bytes) {
    const std::span<const std::uint8_t> back = body_.last(static_cast<std::size_t>(bytes));
    body_ = body_.first(body_.size() - back.size());
    return back;
  };
  if ((flags & kHashCache) != 0) {
    const std::uint64_t bytes = std::uint64_t{objects_} * 4;
    if (bytes > body_.size()) return corrupt("bitmap: too short for the name hashes");
    take_back(bytes);
  }
  if ((flags & kLookupTable) != 0) {
    const std::uint64_t bytes = std::uint64_t{entries_} * kTableRowBytes;
    if (bytes > body_.size()) return corrupt("bitmap: too short for the lookup table");
    table_ = take_back(bytes);
  }
  if ((flags & kPseudoMerges) != 0) {
    if (body_.size() < kPseudoMergeBytesMin) return corrupt("bitmap: too short for pseudo-merges");
    const std::uint64_t bytes = be64(body_.data() + body_.size() - 8);  // itself included
    if (bytes < kPseudoMergeBytesMin || bytes > body_.size()) {
      return corrupt("bitmap: size of the pseudo-merges");
    }
    take_back(bytes);
  }
  return {};
}

io::Result<void> ReachabilityBitmap::take_types() {
  std::array<Ewah, 4> stored;
  for (Ewah& ewah : stored) {
    const io::Result<Ewah> taken = Ewah::take(body_);
    if (!taken) return std::unexpected(taken.error());
    ewah = *taken;
  }
  ObjectSet all(objects_);
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < types_.size(); ++i) {
    types_[i] = ObjectSet(objects_);
    if (auto read = stored[i].xor_into(types_[i], objects_); !read) return read;
    bits += types_[i].count();
    all |= types_[i];
  }
  if (bits != objects_ || all.count() != objects_)
    return corrupt("bitmap: an object of no one type");
  return {};
}

// Only heads are read, so this touches each entry's first page and allocates a row an entry.
io::Result<void> ReachabilityBitmap::scan_entries() {
  std::vector<Row> scanned(entries_);
  std::span<const std::uint8_t> rest = body_;
  for (std::uint32_t i = 0; i < entries_; ++i) {
    if (rest.size() < kEntryHeadBytes) return corrupt("bitmap: entries end early");
    const unsigned back = rest[4];
    if (back > kBitmapXorOffsetMax || back > i) return corrupt("bitmap: XOR with no entry");
    scanned[i] = {.commit = be32(rest.data()),
                  .base = back == 0 ? kNoRow : i - back,
                  .offset = static_cast<std::uint64_t>(rest.data() - file_.data())};
    rest = rest.subspan(kEntryHeadBytes);
    if (const io::Result<Ewah> taken = Ewah::take(rest); !taken) {
      return std::unexpected(taken.error());
    }
  }
  std::vector<std::uint32_t> order(entries_);
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::uint32_t i) { return scanned[i].commit; });
  std::vector<std::uint32_t> row_of_entry(entries_);
  for (std::uint32_t row = 0; row < entries_; ++row) row_of_entry[order[row]] = row;
  rows_.reserve(entries_);
  for (const std::uint32_t i : order) {
    rows_.push_back(scanned[i]);
    if (rows_.back().base != kNoRow) rows_.back().base = row_of_entry[rows_.back().base];
  }
  return {};
}

io::Result<void> ReachabilityBitmap::check_rows() const {
  std::uint64_t least = 0;
  for (std::uint32_t i = 0; i < entries_; ++i) {
    const Row row = row_at(i);
    if (row.commit < least) return corrupt("bitmap: commits twice or out of order");
    if (row.commit >= objects_) return corrupt("bitmap: a commit beyond the last object");
    if (row.base != kNoRow && row.base >= entries_) return corrupt("bitmap: XOR with no entry");
    least = std::uint64_t{row.commit} + 1;
  }
  return {};
}

ReachabilityBitmap::Row ReachabilityBitmap::row_at(std::uint32_t row) const {
  if (table_.empty()) return rows_[row];
  const std::uint8_t* const bytes = table_.data() + std::size_t{row} * kTableRowBytes;
  return {.commit = be32(bytes), .base = be32(bytes + 12), .offset = be64(bytes + 4)};
}

std::optional<std::uint32_t> ReachabilityBitmap::row_of(std::uint32_t commit_position) const {
  const auto rows = std::views::iota(0U, entries_);
  const auto commit = [this](std::uint32_t row) { return row_at(row).commit; };
  const auto found = std::ranges::lower_bound(rows, commit_position, {}, commit);
  if (found == rows.end() || commit(*found) != commit_position) return std::nullopt;
  return *found;
}

io::Result<std::optional<ObjectSet>> ReachabilityBitmap::reachable_from(
    std::uint32_t commit_position) const {
  std::optional<std::uint32_t> row = row_of(commit_position);
  if (!row) return std::nullopt;
  ObjectSet set(objects_);
  // A lookup table may lead round in a circle, so steps are counted.
  for (unsigned steps = 0; *row != kNoRow; ++steps) {
    if (steps == std::min(entries_, kBitmapXorChainMax)) return corrupt("bitmap: chain of XORs");
    const Row entry = row_at(*row);
    if (auto done = xor_entry(entry, set); !done) return std::unexpected(done.error());
    row = entry.base;
  }
  return set;
}

io::Result<void> ReachabilityBitmap::xor_entry(const Row& row, ObjectSet& set) const {
  const auto first = static_cast<std::uint64_t>(body_.data() - file_.data());
  if (row.offset < first || row.offset - first > body_.size() ||
      body_.size() - (row.offset - first) < kEntryHeadBytes) {
    return corrupt("bitmap: a row that points to no entry");
  }
  std::span<const std::uint8_t> entry = body_.subspan(row.offset - first);
  // Both descriptions of an entry must agree, so a row cannot lead into the middle of a bitmap.
  if (be32(entry.data()) != row.commit || (entry[4] == 0) != (row.base == kNoRow)) {
    return corrupt("bitmap: a row that describes another entry");
  }
  entry = entry.subspan(kEntryHeadBytes);
  const io::Result<Ewah> ewah = Ewah::take(entry);
  if (!ewah) return std::unexpected(ewah.error());
  return ewah->xor_into(set, objects_);
}

}  // namespace weir::git
