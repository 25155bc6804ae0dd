#include "git/reachability_bitmap.h"

#include <gtest/gtest.h>

#include "tests/git/ewah_text.h"
#include "tests/git/history_repository.h"

namespace weir::git {
namespace {

// The bitmap of a repository's one pack, and its objects in both orders.
struct PackBitmap {
  explicit PackBitmap(const HistoryRepository& history)
      : file(history.file("objects/pack", ".bitmap")),
        pack(history.file("objects/pack", ".pack")),
        by_name(history.pack_objects(history.path() + "/objects/pack/pack-*.idx")),
        by_offset(by_name) {
    std::ranges::sort(by_offset, {}, [](const auto& object) { return object.second; });
    checksum = pack.span().last(hash_bytes(history.format()));
    auto opened = ReachabilityBitmap::open(file.span(), history.format(),
                                           static_cast<std::uint32_t>(by_name.size()), checksum);
    EXPECT_TRUE(opened) << io::to_string(opened.error());
    if (opened) bitmap = std::move(*opened);
  }
  std::set<std::string> names(const ObjectSet& set) const {
    std::set<std::string> names;
    set.for_each([&](std::uint32_t bit) { names.insert(by_offset[bit].first); });
    return names;
  }
  std::map<std::string, std::uint32_t> commits() const {  // that have sets, and their positions
    std::map<std::string, std::uint32_t> commits;
    for (std::uint32_t position = 0; position < by_name.size(); ++position) {
      if (bitmap->has(position)) commits[by_name[position].first] = position;
    }
    return commits;
  }

  BigEndianBytes file;
  BigEndianBytes pack;
  std::vector<std::pair<std::string, std::uint64_t>> by_name;
  std::vector<std::pair<std::string, std::uint64_t>> by_offset;
  std::span<const std::uint8_t> checksum;
  std::unique_ptr<ReachabilityBitmap> bitmap;
};

// What the file says of each commit is what git finds when it walks without it.
void expect_same_as_a_walk(const HistoryRepository& history) {
  const PackBitmap pack(history);
  ASSERT_NE(pack.bitmap, nullptr);
  const auto commits = pack.commits();
  EXPECT_EQ(commits.size(), pack.bitmap->entries());
  EXPECT_GT(commits.size(), 20U);
  std::vector<std::string> names;
  for (const auto& [name, position] : commits) names.push_back(name);
  for (const auto& [name, reachable] : history.reachable_from(names)) {
    const auto set = pack.bitmap->reachable_from(commits.at(name));
    ASSERT_TRUE(set) << io::to_string(set.error());
    ASSERT_TRUE(*set);
    EXPECT_EQ(pack.names(**set), reachable) << name;
  }
  std::map<std::string, std::set<std::string>> by_type;
  for (const auto& [name, type] : history.types()) by_type[type].insert(name);
  for (const ObjectType type :
       {ObjectType::commit, ObjectType::tree, ObjectType::blob, ObjectType::tag}) {
    EXPECT_EQ(pack.names(pack.bitmap->of_type(type)), by_type[std::string(type_name(type))]);
  }
}

TEST(ReachabilityBitmap, says_what_a_walk_of_git_says) {
  const HistoryRepository history(60);
  const struct {
    bool table;
    bool hashes;
  } layouts[] = {{false, false}, {true, false}, {false, true}, {true, true}};
  for (const auto& layout : layouts) {
    SCOPED_TRACE(::testing::Message() << "table " << layout.table << " hashes " << layout.hashes);
    history.git("config pack.writeBitmapLookupTable " + std::to_string(layout.table));
    history.git("config pack.writeBitmapHashCache " + std::to_string(layout.hashes));
    history.git("repack -adbq");
    const std::uint8_t flags = history.file("objects/pack", ".bitmap").span()[7];
    EXPECT_EQ(flags, 1 + (layout.hashes ? 4 : 0) + (layout.table ? 16 : 0));
    expect_same_as_a_walk(history);
  }
}

TEST(ReachabilityBitmap, says_so_in_repositories_of_sha256) {
  const HistoryRepository history(40, ObjectFormat::sha256);
  history.git("-c pack.writeBitmapLookupTable=true repack -adbq");
  expect_same_as_a_walk(history);
}

TEST(ReachabilityBitmap, says_so_after_rewriting_with_reused_sets) {
  HistoryRepository history(200);  // more commits than git gives sets to
  history.git("repack -adbq");
  history.grow(100);
  history.git("repack -adbq");
  const PackBitmap pack(history);
  ASSERT_NE(pack.bitmap, nullptr);
  const auto all = history.git("rev-list --all --count");
  EXPECT_LT(pack.bitmap->entries(), std::stoul(all));
  expect_same_as_a_walk(history);
}

TEST(ReachabilityBitmap, knows_no_set_of_what_is_no_commit) {
  const HistoryRepository history(10);
  history.git("repack -adbq");
  const PackBitmap pack(history);
  ASSERT_NE(pack.bitmap, nullptr);
  const auto types = history.types();
  for (std::uint32_t position = 0; position < pack.by_name.size(); ++position) {
    if (types.at(pack.by_name[position].first) == "commit") continue;
    EXPECT_FALSE(pack.bitmap->has(position));
    EXPECT_EQ(*pack.bitmap->reachable_from(position), std::nullopt);
  }
  EXPECT_FALSE(pack.bitmap->has(0xffffffff));
}

// A file by hand: eight objects, of which the commits have the positions 0, 2 and 5.
struct Entry {
  std::uint32_t commit;
  std::uint8_t back;
  std::string ewah;
};
struct TableRow {
  std::uint32_t commit;
  std::uint64_t entry;  // whose offset is written; beyond the entries: an offset itself
  std::uint32_t base;
};
constexpr std::uint32_t kObjects = 8;
constexpr std::uint32_t kNone = 0xffffffff;
const std::string kChecksum(20, 'c');

struct Draft {
  std::string signature = "BITM";
  std::uint16_t version = 1;
  std::uint16_t flags = 1;
  std::uint32_t count = kNone;  // else as many as there are
  std::array<std::string, 4> types = {ewah_of(0b111), ewah_of(0b11000), ewah_of(0b1100000),
                                      ewah_of(0b10000000)};
  std::vector<Entry> entries = {
      {5, 0, ewah_of(0b1011)}, {0, 1, ewah_of(0b0110)}, {2, 1, ewah_of(0b10000000)}};
  std::string pseudo_merges;
  std::vector<TableRow> table;
  std::string hashes;

  Draft& with_table() {
    flags |= 0x10;
    table = {{0, 1, 2}, {2, 2, 0}, {5, 0, kNone}};
    return *this;
  }
  BigEndianBytes bytes() const {
    BigEndianBytes out;
    out.text(signature).u16(version).u16(flags);
    out.u32(count == kNone ? entries.size() : count).text(kChecksum);
    for (const std::string& type : types) out.text(type);
    std::vector<std::uint64_t> offsets;
    for (const Entry& entry : entries) {
      offsets.push_back(out.size());
      out.u32(entry.commit).u8(entry.back).u8(0).text(entry.ewah);
    }
    out.text(pseudo_merges);
    for (const TableRow& row : table) {
      out.u32(row.commit).u64(row.entry < offsets.size() ? offsets[row.entry] : row.entry);
      out.u32(row.base);
    }
    return out.text(hashes).fill(20, 't');
  }
};

io::Result<std::unique_ptr<ReachabilityBitmap>> open(const BigEndianBytes& file,
                                                     std::uint32_t objects = kObjects) {
  const BigEndianBytes checksum(kChecksum);
  return ReachabilityBitmap::open(file.span(), ObjectFormat::sha1, objects, checksum.span());
}

std::uint64_t set_of(const ReachabilityBitmap& bitmap, std::uint32_t commit) {
  const auto set = bitmap.reachable_from(commit);
  return set && *set ? (*set)->words()[0] : 0;
}

TEST(ReachabilityBitmap, follows_chains_of_xors_with_and_without_a_table) {
  Draft draft;
  for (const bool table : {false, true}) {
    if (table) draft.with_table();
    const BigEndianBytes file = draft.bytes();
    const auto bitmap = open(file);
    ASSERT_TRUE(bitmap) << io::to_string(bitmap.error());
    EXPECT_EQ((*bitmap)->entries(), 3U);
    EXPECT_EQ(set_of(**bitmap, 5), 0b1011U);
    EXPECT_EQ(set_of(**bitmap, 0), 0b1101U);
    EXPECT_EQ(set_of(**bitmap, 2), 0b10001101U);
    EXPECT_FALSE((*bitmap)->has(1));
  }
}

TEST(ReachabilityBitmap, passes_over_name_hashes_and_pseudo_merges) {
  Draft draft;
  draft.with_table().flags = 0x35;
  draft.hashes = std::string(kObjects * 4, 'h');
  draft.pseudo_merges = BigEndianBytes().fill(30, 'p').fill(16, '0').u64(54).str();
  const BigEndianBytes file = draft.bytes();
  const auto bitmap = open(file);
  ASSERT_TRUE(bitmap) << io::to_string(bitmap.error());
  EXPECT_EQ(set_of(**bitmap, 2), 0b10001101U);
}

TEST(ReachabilityBitmap, may_be_of_nothing) {
  Draft draft;
  draft.entries.clear();
  draft.types.fill(ewah_bytes(0, {0}));
  const BigEndianBytes file = draft.bytes();
  const auto bitmap = open(file, 0);
  ASSERT_TRUE(bitmap) << io::to_string(bitmap.error());
  EXPECT_FALSE((*bitmap)->has(0));
  EXPECT_TRUE((*bitmap)->of_type(ObjectType::tag).empty());
}

TEST(ReachabilityBitmap, refuses_a_file_cut_off_anywhere_before_its_checksum) {
  for (const bool table : {false, true}) {
    Draft draft;
    if (table) draft.with_table();
    const std::string whole = draft.bytes().str();
    for (std::size_t bytes = 0; bytes < whole.size() - 20; ++bytes) {
      const BigEndianBytes file(whole.substr(0, bytes) + std::string(20, 't'));
      EXPECT_FALSE(open(file)) << bytes;
    }
  }
}

TEST(ReachabilityBitmap, refuses_files_that_are_not_what_they_should_be) {
  const char* const type = "bitmap: an object of no one type";
  const char* const twice = "bitmap: commits twice or out of order";
  const char* const beyond = "bitmap: a commit beyond the last object";
  const char* const alone = "bitmap: XOR with no entry";
  const struct {
    const char* what;
    void (*change)(Draft&);
    const char* why;
  } refused[] = {
      {"another kind of file", [](Draft& d) { d.signature = "BITN"; }, "bitmap: not a bitmap"},
      {"version 2", [](Draft& d) { d.version = 2; }, "bitmap: version"},
      {"not of a whole history", [](Draft& d) { d.flags = 0; }, "bitmap: flags"},
      {"a flag nobody knows", [](Draft& d) { d.flags = 0x41; }, "bitmap: flags"},
      {"more entries than are there", [](Draft& d) { d.count = 4; }, "bitmap: entries end early"},
      {"as many entries as a number can say", [](Draft& d) { d.count = kNone - 1; },
       "bitmap: more entries than bytes"},
      {"no room for name hashes",
       [](Draft& d) { d.flags = 5, d.entries.clear(), d.types.fill(""); },
       "bitmap: too short for the name hashes"},
      {"no room for the table", [](Draft& d) { d.flags = 0x11, d.count = 1000; },
       "bitmap: too short for the lookup table"},
      {"a table as long as a number can say", [](Draft& d) { d.flags = 0x11, d.count = kNone - 1; },
       "bitmap: too short for the lookup table"},
      {"no room for pseudo-merges",
       [](Draft& d) { d.flags = 0x21, d.entries.clear(), d.types.fill(""); },
       "bitmap: too short for pseudo-merges"},
      {"more pseudo-merges than bytes",
       [](Draft& d) { d.flags = 0x21, d.pseudo_merges = std::string(32, 'p'); },
       "bitmap: size of the pseudo-merges"},
      {"pseudo-merges of no size",
       [](Draft& d) { d.flags = 0x21, d.pseudo_merges = std::string(32, '\0'); },
       "bitmap: size of the pseudo-merges"},
      {"an object of two types", [](Draft& d) { d.types[1] = ewah_of(0b11001); }, type},
      {"an object of no type", [](Draft& d) { d.types[1] = ewah_of(0b01000); }, type},
      {"one of two, another of none", [](Draft& d) { d.types[1] = ewah_of(0b01001); }, type},
      {"a type of more objects than there are", [](Draft& d) { d.types[3] = ewah_of(0x180); },
       "ewah: a bit beyond the last object"},
      {"a type that is none", [](Draft& d) { d.types[3] = ewah_bytes(64, {}, 1); },
       "ewah: last marker"},
      {"a commit twice", [](Draft& d) { d.entries[1].commit = 5; }, twice},
      {"a commit beyond the objects", [](Draft& d) { d.entries[0].commit = kObjects; }, beyond},
      {"a commit nowhere", [](Draft& d) { d.entries[0].commit = kNone; }, beyond},
      {"a XOR with what was before the first", [](Draft& d) { d.entries[0].back = 1; }, alone},
      {"a XOR further back than git goes",
       [](Draft& d) {
         d.entries.resize(200, d.entries[0]);
         d.entries[199].back = 161;
       },
       alone},
      {"an entry longer than the file",
       [](Draft& d) { d.entries[2].ewah = BigEndianBytes().u32(8).u32(1000).u64(0).str(); },
       "ewah: more words than bytes"},
      {"a table with a commit twice", [](Draft& d) { d.with_table().table[1].commit = 0; }, twice},
      {"a table out of order", [](Draft& d) { std::swap(d.with_table().table[0], d.table[1]); },
       twice},
      {"a table with a commit beyond the objects",
       [](Draft& d) { d.with_table().table[2].commit = kObjects; }, beyond},
      {"a table with a XOR with no row", [](Draft& d) { d.with_table().table[0].base = 3; }, alone},
  };
  ASSERT_TRUE(open(Draft().bytes()));
  for (const auto& row : refused) {
    Draft draft;
    row.change(draft);
    const auto bitmap = open(draft.bytes());
    ASSERT_FALSE(bitmap) << row.what;
    EXPECT_STREQ(bitmap.error().where, row.why) << row.what;
  }
}

TEST(ReachabilityBitmap, refuses_a_file_of_another_pack_or_hash) {
  const BigEndianBytes file = Draft().bytes();
  const BigEndianBytes other(std::string(20, 'd'));
  EXPECT_FALSE(ReachabilityBitmap::open(file.span(), ObjectFormat::sha1, kObjects, other.span()));
  EXPECT_FALSE(ReachabilityBitmap::open(file.span(), ObjectFormat::sha1, kObjects, {}));
  const BigEndianBytes longer(std::string(32, 'c'));
  EXPECT_FALSE(
      ReachabilityBitmap::open(file.span(), ObjectFormat::sha256, kObjects, longer.span()));
  EXPECT_FALSE(open(file, kObjects - 1));
  EXPECT_FALSE(open(file, kObjects + 1));
  EXPECT_FALSE(open(file, 0));
}

// Entries are read when they are asked for; the others stay usable.
TEST(ReachabilityBitmap, refuses_entries_that_do_not_hold_together_when_they_are_asked_for) {
  constexpr std::uint64_t kEnd = 32 + 4 * 28 + 3 * 34;  // of the entries
  static constexpr std::uint64_t kBehind = kEnd - 5;
  const char* const nowhere = "bitmap: a row that points to no entry";
  const char* const other = "bitmap: a row that describes another entry";
  const char* const circle = "bitmap: chain of XORs";
  const struct {
    const char* what;
    void (*change)(Draft&);
    const char* why;
  } refused[] = {
      {"a bit beyond the objects", [](Draft& d) { d.entries[1].ewah = ewah_of(0x100); },
       "ewah: a bit beyond the last object"},
      {"a run beyond the objects",
       [](Draft& d) { d.entries[1].ewah = ewah_bytes(64, {ewah_marker(true, 2, 0)}); },
       "ewah: a run beyond the last bit"},
      {"more bits than objects",
       [](Draft& d) { d.entries[1].ewah = ewah_bytes(65, {ewah_marker(true, 1, 0)}); },
       "ewah: more bits than objects"},
      {"literals that are not there",
       [](Draft& d) { d.entries[1].ewah = ewah_bytes(64, {ewah_marker(false, 0, 9), 1}); },
       "ewah: more literal words than there are"},
      {"a row that points to the start", [](Draft& d) { d.with_table().table[0].entry = 3; },
       nowhere},
      {"a row that points to the types", [](Draft& d) { d.with_table().table[0].entry = 32; },
       nowhere},
      {"a row that points to too few bytes",
       [](Draft& d) { d.with_table().table[0].entry = kBehind; }, nowhere},
      {"a row that points to the table",
       [](Draft& d) { d.with_table().table[0].entry = kBehind + 20; }, nowhere},
      {"a row that points behind the file",
       [](Draft& d) { d.with_table().table[0].entry = 100000; }, nowhere},
      {"a row that points as far as a number can",
       [](Draft& d) { d.with_table().table[0].entry = ~std::uint64_t{0}; }, nowhere},
      {"a row of another entry", [](Draft& d) { d.with_table().table[0].entry = 2; }, other},
      {"a row into the middle of an entry",
       [](Draft& d) { d.with_table().table[0].entry = kBehind - 50; }, other},
      {"a row that forgets a XOR", [](Draft& d) { d.with_table().table[0].base = kNone; }, other},
      {"a row that invents a XOR", [](Draft& d) { d.with_table().entries[1].back = 0; }, other},
      {"a circle of one", [](Draft& d) { d.with_table().table[0].base = 0; }, circle},
      {"a circle of two", [](Draft& d) { d.with_table().table[0].base = 1; }, circle},
  };
  for (const auto& row : refused) {
    Draft draft;
    row.change(draft);
    const BigEndianBytes file = draft.bytes();
    const auto bitmap = open(file);
    ASSERT_TRUE(bitmap) << row.what << ": " << io::to_string(bitmap.error());
    EXPECT_TRUE((*bitmap)->has(0)) << row.what;
    const auto set = (*bitmap)->reachable_from(0);
    ASSERT_FALSE(set) << row.what;
    EXPECT_STREQ(set.error().where, row.why) << row.what;
    EXPECT_FALSE((*bitmap)->reachable_from(2)) << row.what;  // is XORed with it
    EXPECT_EQ(set_of(**bitmap, 5), 0b1011U) << row.what;
  }
}

TEST(ReachabilityBitmap, follows_a_xor_as_far_back_as_git_goes) {
  Draft draft;
  draft.types.fill(ewah_bytes(0, {0}));
  draft.types[0] = ewah_bytes(192, {ewah_marker(true, 3, 0)});
  draft.entries.assign(kBitmapXorOffsetMax + 1, {0, 0, ewah_of(0b01)});
  for (std::uint32_t i = 0; i < draft.entries.size(); ++i) draft.entries[i].commit = i;
  draft.entries.back() = {kBitmapXorOffsetMax, kBitmapXorOffsetMax, ewah_of(0b11)};
  const BigEndianBytes file = draft.bytes();
  const auto bitmap = open(file, 192);
  ASSERT_TRUE(bitmap) << io::to_string(bitmap.error());
  EXPECT_EQ(set_of(**bitmap, kBitmapXorOffsetMax), 0b10U);
}

TEST(ReachabilityBitmap, bounds_how_long_a_chain_of_xors_may_be) {
  constexpr std::uint32_t kEntries = kBitmapXorChainMax + 1;
  Draft draft;
  draft.types.fill(ewah_bytes(0, {0}));
  draft.types[0] = ewah_bytes(kEntries, {ewah_marker(true, kEntries / 64, 1), 1});
  draft.entries.assign(kEntries, {0, 1, ewah_of(1)});
  for (std::uint32_t i = 0; i < kEntries; ++i) draft.entries[i].commit = i;
  draft.entries[0].back = 0;
  const BigEndianBytes file = draft.bytes();
  const auto bitmap = open(file, kEntries);
  ASSERT_TRUE(bitmap) << io::to_string(bitmap.error());
  EXPECT_EQ(set_of(**bitmap, kEntries - 3), 1U);  // an odd number of them
  EXPECT_TRUE((*bitmap)->reachable_from(kEntries - 2));
  EXPECT_FALSE((*bitmap)->reachable_from(kEntries - 1));
}

}  // namespace
}  // namespace weir::git
