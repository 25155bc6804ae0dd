#include "git/multi_pack_index.h"

#include <gtest/gtest.h>

#include "git/reachability_bitmap.h"
#include "tests/git/chunk_file.h"
#include "tests/git/history_repository.h"

namespace weir::git {
namespace {

io::Result<MultiPackIndex> open(const BigEndianBytes& file, const BigEndianBytes& reverse = {},
                                ObjectFormat format = ObjectFormat::sha1) {
  return MultiPackIndex::open(file.span(), reverse.span(), format);
}

// Three packs, one of which repeats objects of the others.
void make_packs(HistoryRepository& history) {
  history.git("repack -dq");
  history.grow(15);
  history.git("repack -dq");
  history.git("rev-list --objects main~5 | git -C " + history.path() + " pack-objects -q " +
              history.path() + "/objects/pack/pack");
}
BigEndianBytes index_file(const HistoryRepository& history) {
  return BigEndianBytes(history.read("objects/pack/multi-pack-index"));
}

// Each object is where its pack's own index says, and no object is missing.
void expect_same_as_the_packs(const HistoryRepository& history, const MultiPackIndex& index) {
  std::vector<std::map<std::string, std::uint64_t>> packs;
  std::set<std::string> names;
  for (std::uint32_t pack = 0; pack < index.packs(); ++pack) {
    packs.emplace_back();
    for (const auto& [name, offset] : history.pack_objects(history.path() + "/objects/pack/" +
                                                           std::string(index.pack_name(pack)))) {
      packs.back()[name] = offset;
      names.insert(name);
    }
  }
  EXPECT_EQ(index.count(), names.size());
  for (const std::string& name : names) {
    const auto position = index.find(*ObjectId::from_hex(name));
    ASSERT_TRUE(position) << name;
    EXPECT_EQ(index.id_at(*position).to_hex(), name);
    const auto place = index.place_at(*position);
    ASSERT_TRUE(place) << name;
    ASSERT_LT(place->pack, packs.size());
    ASSERT_TRUE(packs[place->pack].contains(name)) << name;
    EXPECT_EQ(packs[place->pack].at(name), place->offset) << name;
  }
}

// Its bitmap, read in its order, says what git finds when it walks.
void expect_bitmap_same_as_a_walk(const HistoryRepository& history, const MultiPackIndex& index) {
  const BigEndianBytes file = history.file("objects/pack", ".bitmap");
  const auto bitmap =
      ReachabilityBitmap::open(file.span(), history.format(), index.count(), index.checksum());
  ASSERT_TRUE(bitmap) << io::to_string(bitmap.error());
  std::vector<std::string> commits;
  for (std::uint32_t position = 0; position < index.count(); ++position) {
    if ((*bitmap)->has(position)) commits.push_back(index.id_at(position).to_hex());
  }
  EXPECT_EQ(commits.size(), (*bitmap)->entries());
  EXPECT_GT(commits.size(), 20U);
  for (const auto& [name, reachable] : history.reachable_from(commits)) {
    const auto set = (*bitmap)->reachable_from(*index.find(*ObjectId::from_hex(name)));
    ASSERT_TRUE(set) << io::to_string(set.error());
    std::set<std::string> names;
    (*set)->for_each([&](std::uint32_t bit) {
      names.insert(index.id_at(*index.position_of_bit(bit)).to_hex());
    });
    EXPECT_EQ(names, reachable) << name;
  }
}

TEST(MultiPackIndex, says_what_the_indexes_of_its_packs_say) {
  HistoryRepository history(20);
  make_packs(history);
  history.git("multi-pack-index write");
  const BigEndianBytes file = index_file(history);
  const auto index = open(file);
  ASSERT_TRUE(index) << io::to_string(index.error());
  EXPECT_EQ(index->packs(), 3U);
  EXPECT_FALSE(index->has_order());
  EXPECT_EQ(index->position_of_bit(0), std::nullopt);
  expect_same_as_the_packs(history, *index);
}

TEST(MultiPackIndex, gives_its_bitmap_an_order) {
  HistoryRepository history(20);
  make_packs(history);
  for (const char* const table : {"false", "true"}) {
    history.git("-c pack.writeBitmapLookupTable=" + std::string(table) +
                " multi-pack-index write --bitmap");
    const BigEndianBytes file = index_file(history);
    const auto index = open(file);
    ASSERT_TRUE(index) << io::to_string(index.error());
    EXPECT_TRUE(index->has_order());
    expect_same_as_the_packs(history, *index);
    expect_bitmap_same_as_a_walk(history, *index);
    std::filesystem::remove(history.path() + "/objects/pack/multi-pack-index");
    history.run("rm " + history.path() + "/objects/pack/multi-pack-index-*.bitmap");
  }
}

TEST(MultiPackIndex, begins_its_order_with_the_preferred_pack) {
  HistoryRepository history(20);
  make_packs(history);
  history.git("multi-pack-index write");
  const BigEndianBytes before = index_file(history);
  for (std::uint32_t preferred = 0; preferred < 3; ++preferred) {
    std::filesystem::remove(history.path() + "/objects/pack/multi-pack-index");
    history.git("multi-pack-index write --bitmap --preferred-pack=" +
                std::string(open(before)->pack_name(preferred)));
    const BigEndianBytes file = index_file(history);
    const auto index = open(file);
    ASSERT_TRUE(index) << io::to_string(index.error());
    EXPECT_EQ(index->place_at(*index->position_of_bit(0))->pack, preferred);
    expect_bitmap_same_as_a_walk(history, *index);
    history.run("rm " + history.path() + "/objects/pack/multi-pack-index-*.bitmap");
  }
}

TEST(MultiPackIndex, reads_the_order_from_a_rev_file_where_it_has_no_chunk_of_it) {
  HistoryRepository history(20);
  make_packs(history);
  history.run("GIT_TEST_MIDX_WRITE_REV=1 git -C " + history.path() +
              " multi-pack-index write --bitmap");
  const BigEndianBytes with_chunk = index_file(history);
  BigEndianBytes without_chunk = with_chunk;
  without_chunk.str().replace(without_chunk.str().find("RIDX"), 4, "XXXX");
  const BigEndianBytes reverse(
      history.run("cat " + history.path() + "/objects/pack/multi-pack-index-*.rev"));
  const auto expected = open(with_chunk);
  const auto index = open(without_chunk, reverse);
  ASSERT_TRUE(expected);
  ASSERT_TRUE(index) << io::to_string(index.error());
  for (std::uint32_t bit = 0; bit < index->count(); ++bit) {
    EXPECT_EQ(index->position_of_bit(bit), expected->position_of_bit(bit));
  }
  EXPECT_FALSE(open(without_chunk)->has_order());
}

TEST(MultiPackIndex, says_so_in_repositories_of_sha256) {
  HistoryRepository history(20, ObjectFormat::sha256);
  make_packs(history);
  history.git("multi-pack-index write --bitmap");
  const BigEndianBytes file = index_file(history);
  const auto index = open(file, {}, ObjectFormat::sha256);
  ASSERT_TRUE(index) << io::to_string(index.error());
  expect_same_as_the_packs(history, *index);
  expect_bitmap_same_as_a_walk(history, *index);
  EXPECT_FALSE(open(file));
}

// A file by hand: three objects in two packs, the last of them far away.
ChunkFile draft_index() {
  return {.head = BigEndianBytes().text("MIDX").u8(1).u8(1).u8(6).u8(0).u32(2).str(),
          .chunks = {
              {"PNAM", std::string("a.idx\0b.idx\0\0\0\0", 15)},
              {"OIDF", fan_out({0, 1, 2})},
              {"OIDL",
               BigEndianBytes().u8(0).fill(19, 'n').u8(1).fill(19, 'n').u8(2).fill(19, 'n').str()},
              {"OOFF",
               BigEndianBytes().u32(0).u32(12).u32(1).u32(0x7fffffff).u32(1).u32(0x80000000).str()},
              {"LOFF", BigEndianBytes().u64(std::uint64_t{1} << 40).str()},
              {"RIDX", BigEndianBytes().u32(2).u32(0).u32(1).str()}}};
}
void drop(ChunkFile& file, const std::string& name) {
  file.remove(name);
  file.head[6] = static_cast<char>(file.chunks.size());
}
BigEndianBytes draft_reverse() {
  return BigEndianBytes().text("RIDX").u32(1).u32(1).u32(1).u32(0).u32(2).fill(20, 't').fill(20,
                                                                                             'r');
}

TEST(MultiPackIndex, reads_offsets_near_and_far) {
  ChunkFile draft = draft_index();
  const BigEndianBytes file = draft.bytes();
  const auto index = open(file);
  ASSERT_TRUE(index) << io::to_string(index.error());
  EXPECT_EQ(index->packs(), 2U);
  EXPECT_EQ(index->pack_name(1), "b.idx");
  EXPECT_EQ(index->place_at(0)->offset, 12U);
  EXPECT_EQ(index->place_at(1)->offset, 0x7fffffffU);
  EXPECT_EQ(index->place_at(2)->offset, std::uint64_t{1} << 40);
  EXPECT_EQ(index->place_at(2)->pack, 1U);
  EXPECT_EQ(index->position_of_bit(0), 2U);

  drop(draft, "LOFF");
  const BigEndianBytes near = draft.bytes();
  EXPECT_EQ(open(near)->place_at(2)->offset, 0x80000000U) << "all bits are the offset";
}

TEST(MultiPackIndex, refuses_files_that_are_not_what_they_should_be) {
  const char* const order = "multi-pack-index: names of packs out of order";
  const struct {
    const char* what;
    void (*change)(ChunkFile&);
    const char* why;
  } refused[] = {
      {"another kind of file", [](ChunkFile& f) { f.head[0] = 'X'; }, "multi-pack-index: not one"},
      {"version 2", [](ChunkFile& f) { f.head[4] = 2; }, "multi-pack-index: version"},
      {"another hash", [](ChunkFile& f) { f.head[5] = 2; }, "multi-pack-index: of another hash"},
      {"no such hash", [](ChunkFile& f) { f.head[5] = 0; }, "multi-pack-index: of another hash"},
      {"on another index", [](ChunkFile& f) { f.head[7] = 1; }, "multi-pack-index: one of a chain"},
      {"fewer chunks than it has", [](ChunkFile& f) { f.head[6] = 5; }, "chunks: not so many"},
      {"no names of packs", [](ChunkFile& f) { drop(f, "PNAM"); },
       "multi-pack-index: more packs than names"},
      {"as many packs as a number can say", [](ChunkFile& f) { f.head.replace(8, 4, 4, '\xff'); },
       "multi-pack-index: more packs than names"},
      {"a name without end", [](ChunkFile& f) { f.chunk("PNAM") = "a.idx.b.idx"; },
       "multi-pack-index: a name without end"},
      {"fewer names than packs", [](ChunkFile& f) { f.head[11] = 3; }, order},
      {"names out of order",
       [](ChunkFile& f) { f.chunk("PNAM") = std::string("b.idx\0a.idx\0", 12); }, order},
      {"one name twice", [](ChunkFile& f) { f.chunk("PNAM") = std::string("a.idx\0a.idx\0", 12); },
       order},
      {"no name", [](ChunkFile& f) { f.chunk("PNAM") = std::string("\0a.idx\0", 7); }, order},
      {"no fan-out", [](ChunkFile& f) { drop(f, "OIDF"); }, "names: no fan-out"},
      {"no names", [](ChunkFile& f) { drop(f, "OIDL"); }, "names: not as many as the fan-out says"},
      {"no offsets", [](ChunkFile& f) { drop(f, "OOFF"); },
       "multi-pack-index: not an offset for each object"},
      {"too few offsets", [](ChunkFile& f) { f.chunk("OOFF").pop_back(); },
       "multi-pack-index: not an offset for each object"},
      {"an order of fewer objects", [](ChunkFile& f) { f.chunk("RIDX").resize(8); },
       "multi-pack-index: size of the order"},
      {"an order of more objects", [](ChunkFile& f) { f.chunk("RIDX") += "four"; },
       "multi-pack-index: size of the order"},
  };
  for (const auto& row : refused) {
    ChunkFile draft = draft_index();
    row.change(draft);
    const auto index = open(draft.bytes());
    ASSERT_FALSE(index) << row.what;
    EXPECT_STREQ(index.error().where, row.why) << row.what;
  }
}

TEST(MultiPackIndex, refuses_a_file_cut_off_anywhere) {
  const std::string whole = draft_index().bytes().str();
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(open(BigEndianBytes(whole.substr(0, bytes)))) << bytes;
  }
}

TEST(MultiPackIndex, refuses_a_rev_file_that_is_not_its_own) {
  ChunkFile draft = draft_index();
  drop(draft, "RIDX");
  const BigEndianBytes file = draft.bytes();
  const BigEndianBytes good = draft_reverse();
  ASSERT_TRUE(open(file, good));
  EXPECT_EQ(open(file, good)->position_of_bit(2), 2U);
  const struct {
    const char* what;
    void (*change)(BigEndianBytes&);
    const char* why;
  } refused[] = {
      {"another kind of file", [](BigEndianBytes& r) { r.set_u8(0, 'X'); },
       "multi-pack-index: no .rev file"},
      {"version 2", [](BigEndianBytes& r) { r.set_u32(4, 2); },
       "multi-pack-index: version or hash of the .rev file"},
      {"another hash", [](BigEndianBytes& r) { r.set_u32(8, 2); },
       "multi-pack-index: version or hash of the .rev file"},
      {"of another index", [](BigEndianBytes& r) { r.set_u8(24, 'x'); },
       "multi-pack-index: a .rev file of another one"},
      {"too short", [](BigEndianBytes& r) { r.str().pop_back(); },
       "multi-pack-index: size of the .rev file"},
      {"too long", [](BigEndianBytes& r) { r.u8(0); }, "multi-pack-index: size of the .rev file"},
      {"hardly there", [](BigEndianBytes& r) { r.str().resize(1); },
       "multi-pack-index: size of the .rev file"},
  };
  for (const auto& row : refused) {
    BigEndianBytes reverse = good;
    row.change(reverse);
    const auto index = open(file, reverse);
    ASSERT_FALSE(index) << row.what;
    EXPECT_STREQ(index.error().where, row.why) << row.what;
  }
}

TEST(MultiPackIndex, says_when_it_points_outside_itself) {
  ChunkFile draft = draft_index();
  draft.chunk("OOFF") =
      BigEndianBytes().u32(2).u32(12).u32(0xffffffff).u32(12).u32(1).u32(0x80000001).str();
  draft.chunk("RIDX") = BigEndianBytes().u32(3).u32(0xffffffff).u32(1).str();
  const BigEndianBytes file = draft.bytes();
  const auto index = open(file);
  ASSERT_TRUE(index) << io::to_string(index.error());
  EXPECT_FALSE(index->place_at(0)) << "a pack too many";
  EXPECT_FALSE(index->place_at(1)) << "a pack nowhere";
  EXPECT_FALSE(index->place_at(2)) << "a far offset too many";
  EXPECT_FALSE(index->position_of_bit(0)) << "a position too many";
  EXPECT_FALSE(index->position_of_bit(1)) << "a position nowhere";
  EXPECT_EQ(index->position_of_bit(2), 1U);
  EXPECT_FALSE(index->position_of_bit(3)) << "a bit too many";
}

}  // namespace
}  // namespace weir::git
