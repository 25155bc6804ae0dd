#include "git/chunk_table.h"

#include <gtest/gtest.h>

#include "git/name_table.h"
#include "tests/git/chunk_file.h"

namespace weir::git {
namespace {

constexpr std::size_t kHead = 8;

ChunkFile two_chunks() {
  return {.head = std::string(kHead, 'h'), .chunks = {{"ONE1", "abc"}, {"TWO2", "de"}}};
}

io::Result<ChunkTable> read(const BigEndianBytes& file, std::uint8_t chunks = 2) {
  return ChunkTable::read(file.span(), kHead, chunks, 20);
}
std::string text(std::span<const std::uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

TEST(ChunkTable, finds_chunks_by_name) {
  const BigEndianBytes file = two_chunks().bytes();
  const auto table = read(file);
  ASSERT_TRUE(table);
  EXPECT_EQ(text(*table->find("ONE1")), "abc");
  EXPECT_EQ(text(*table->find("TWO2")), "de");
  EXPECT_FALSE(table->find("SIX6"));
  EXPECT_TRUE(table->find_or_empty("SIX6").empty());
}

TEST(ChunkTable, may_be_empty_and_may_have_empty_chunks) {
  ChunkFile draft = two_chunks();
  draft.chunk("ONE1").clear();
  const BigEndianBytes file = draft.bytes();
  ASSERT_TRUE(read(file));
  EXPECT_EQ(text(*read(file)->find("ONE1")), "");
  draft.chunks.clear();
  const BigEndianBytes empty = draft.bytes();
  EXPECT_TRUE(read(empty, 0));
}

TEST(ChunkTable, refuses_tables_that_do_not_hold_together) {
  const std::size_t kRow = 12;
  const struct {
    const char* what;
    void (*change)(BigEndianBytes&);
    const char* why;
  } refused[] = {
      {"a chunk before the table's end", [](BigEndianBytes& f) { f.set_u64(kHead + 4, kHead); },
       "chunks: out of order or outside the file"},
      {"a chunk behind the file",
       [](BigEndianBytes& f) { f.set_u64(kHead + 2 * kRow + 4, f.size()); },
       "chunks: out of order or outside the file"},
      {"a chunk over the checksum",
       [](BigEndianBytes& f) { f.set_u64(kHead + 2 * kRow + 4, f.size() - 19); },
       "chunks: out of order or outside the file"},
      {"an offset as far as a number can say",
       [](BigEndianBytes& f) { f.set_u64(kHead + kRow + 4, ~std::uint64_t{0}); },
       "chunks: out of order or outside the file"},
      {"the second before the first",
       [](BigEndianBytes& f) { f.set_u64(kHead + 4, f.size() - 20).set_u64(kHead + kRow + 4, 44); },
       "chunks: out of order or outside the file"},
      {"the end before the second", [](BigEndianBytes& f) { f.set_u64(kHead + 2 * kRow + 4, 44); },
       "chunks: out of order or outside the file"},
      {"one chunk twice", [](BigEndianBytes& f) { f.str().replace(kHead + kRow, 4, "ONE1"); },
       "chunks: one twice"},
      {"an end that comes early", [](BigEndianBytes& f) { f.set_u32(kHead + kRow, 0); },
       "chunks: not so many"},
      {"no end", [](BigEndianBytes& f) { f.set_u32(kHead + 2 * kRow, 7); }, "chunks: not so many"},
      {"cut off in the table", [](BigEndianBytes& f) { f.str().resize(kHead + 3 * kRow + 19); },
       "chunks: too short for their table"},
  };
  for (const auto& row : refused) {
    BigEndianBytes file = two_chunks().bytes();
    row.change(file);
    const auto table = read(file);
    ASSERT_FALSE(table) << row.what;
    EXPECT_STREQ(table.error().where, row.why) << row.what;
  }
  const BigEndianBytes file = two_chunks().bytes();
  EXPECT_FALSE(read(file, 1));
  EXPECT_FALSE(read(file, 3));
  EXPECT_FALSE(read(file, 255));
}

std::string name(std::uint8_t first, char rest) {
  return std::string(1, static_cast<char>(first)) + std::string(19, rest);
}
ObjectId id_of(const std::string& stored) {
  return ObjectId::from_bytes(reinterpret_cast<const std::uint8_t*>(stored.data()),
                              ObjectFormat::sha1);
}

TEST(NameTable, finds_what_is_there_and_nothing_else) {
  const std::vector<std::string> names = {name(0, 'a'), name(0, 'b'), name(7, 'a'), name(255, 'a'),
                                          name(255, 'c')};
  const BigEndianBytes counts(fan_out({0, 0, 7, 255, 255}));
  BigEndianBytes list;
  for (const std::string& stored : names) list.text(stored);
  const auto table = NameTable::open(counts.span(), list.span(), ObjectFormat::sha1);
  ASSERT_TRUE(table);
  ASSERT_EQ(table->count(), names.size());
  for (std::uint32_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(table->find(id_of(names[i])), i);
    EXPECT_EQ(table->id_at(i), id_of(names[i]));
  }
  for (const std::string& other :
       {name(0, '_'), name(0, 'c'), name(1, 'a'), name(7, 'b'), name(255, 'b'), name(255, 'd')}) {
    EXPECT_EQ(table->find(id_of(other)), std::nullopt);
  }
  ObjectId longer = id_of(names[0]);
  longer.bytes = 32;
  EXPECT_EQ(table->find(longer), std::nullopt);
  EXPECT_EQ(table->find(ObjectId()), std::nullopt);
  EXPECT_EQ(NameTable().find(id_of(names[0])), std::nullopt);
}

TEST(NameTable, refuses_a_fan_out_that_lies) {
  const BigEndianBytes names(name(3, 'a') + name(5, 'a'));
  const BigEndianBytes good(fan_out({3, 5}));
  ASSERT_TRUE(NameTable::open(good.span(), names.span(), ObjectFormat::sha1));
  const struct {
    const char* what;
    void (*change)(BigEndianBytes&);
    const char* why;
  } refused[] = {
      {"falls", [](BigEndianBytes& f) { f.set_u32(4 * 4, 2).set_u32(5 * 4, 1); },
       "names: a fan-out that falls"},
      {"falls at the end", [](BigEndianBytes& f) { f.set_u32(255 * 4, 1); },
       "names: a fan-out that falls"},
      {"rises above the count", [](BigEndianBytes& f) { f.set_u32(100 * 4, 3); },
       "names: a fan-out that falls"},
      {"ends with more", [](BigEndianBytes& f) { f.set_u32(255 * 4, 3); },
       "names: not as many as the fan-out says"},
      {"ends with as many as a number can say",
       [](BigEndianBytes& f) { f.set_u32(255 * 4, 0xffffffff); },
       "names: not as many as the fan-out says"},
      {"has no names", [](BigEndianBytes& f) { f = BigEndianBytes(fan_out({})); },
       "names: not as many as the fan-out says"},
      {"is cut off", [](BigEndianBytes& f) { f.str().pop_back(); }, "names: no fan-out"},
      {"is too long", [](BigEndianBytes& f) { f.u8(0); }, "names: no fan-out"},
      {"is missing", [](BigEndianBytes& f) { f.str().clear(); }, "names: no fan-out"},
  };
  for (const auto& row : refused) {
    BigEndianBytes counts = good;
    row.change(counts);
    const auto table = NameTable::open(counts.span(), names.span(), ObjectFormat::sha1);
    ASSERT_FALSE(table) << row.what;
    EXPECT_STREQ(table.error().where, row.why) << row.what;
  }
  EXPECT_FALSE(NameTable::open(good.span(), names.span(), ObjectFormat::sha256));
  EXPECT_FALSE(NameTable::open(good.span(), names.span().first(39), ObjectFormat::sha1));
}

}  // namespace
}  // namespace weir::git
