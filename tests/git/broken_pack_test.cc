// Packs that git would not write: what is refused as a whole, and what costs one object only.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "git/pack.h"
#include "io/file_mapping.h"
#include "io/unique_fd.h"
#include "tests/git/hand_made_pack.h"

namespace weir::git {
namespace {

// base of 9 bytes -> 9 bytes: all of it.
const std::string kDelta("\x09\x09\x90\x09", 4);
const std::string kContent = "a content";

HandMadePack three_entries() {
  HandMadePack made;
  const std::uint64_t base = made.add(whole_entry(ObjectType::blob, kContent));
  made.add(delta_entry(6, base_distance(made.end() - base), kDelta));
  made.add(delta_entry(7, made.name_bytes(0), kDelta));
  return made;
}

TEST(BrokenPack, is_refused_where_it_has_no_order) {
  const PackBytes whole = three_entries().build();
  ASSERT_TRUE(Pack::open(whole.files(), ObjectFormat::sha1));
  const auto patched = [](std::string bytes, std::size_t at, const std::string& with) {
    return bytes.replace(at, with.size(), with);
  };
  const auto with_offset = [](std::size_t n, std::uint64_t offset) {
    HandMadePack made = three_entries();
    made.offsets[n] = offset;
    return made.build();
  };
  const std::size_t end = whole.pack.size() - 20;
  const HandMadePack three = three_entries();
  const std::uint64_t second = three.offsets[1];
  std::string lost_large_offset = three.index();
  lost_large_offset.replace(8 + 1024 + 3 * 24, 4, big_endian(0x80000000, 4));
  const HandMadePack none;
  const PackBytes refused[] = {
      {"", whole.index, ""},
      {whole.pack, "", ""},
      {whole.pack.substr(0, 4), whole.index, ""},
      {whole.pack.substr(0, 12), whole.index, ""},
      {whole.pack.substr(0, 31), whole.index, ""},
      {whole.pack.substr(0, 32), whole.index, ""},
      {whole.pack.substr(0, whole.pack.size() - 1), whole.index, ""},
      {whole.pack + "x", whole.index, ""},
      {patched(whole.pack, 0, "PUCK"), whole.index, ""},
      {patched(whole.pack, 4, big_endian(1, 4)), whole.index, ""},
      {patched(whole.pack, 4, big_endian(4, 4)), whole.index, ""},
      {patched(whole.pack, 8, big_endian(2, 4)), whole.index, ""},
      {patched(whole.pack, 8, big_endian(4, 4)), whole.index, ""},
      {patched(whole.pack, 8, big_endian(0xffffffff, 4)), whole.index, ""},
      {patched(whole.pack, end, "u"), whole.index, ""},
      {whole.pack, patched(whole.index, whole.index.size() - 40, "u"), ""},
      {whole.pack, whole.index.substr(0, whole.index.size() - 8), ""},
      {whole.pack, lost_large_offset, ""},
      {none.pack(), whole.index, ""},
      {whole.pack, none.index(), ""},
      {patched(none.pack(), 12, "x") + "t", none.index(), ""},  // bytes of no entry
      with_offset(0, 0),
      with_offset(0, 11),
      with_offset(0, 13),  // something before the first
      with_offset(1, 12),  // two at one place
      with_offset(2, second),
      with_offset(2, end),  // in the trailer
      with_offset(2, end + 19),
      with_offset(2, whole.pack.size()),
      with_offset(2, 0x7fffffff),
      with_offset(2, 0x80000000),
      with_offset(2, std::uint64_t{1} << 32 | second),
      with_offset(2, UINT64_MAX),
  };
  for (std::size_t i = 0; i < std::size(refused); ++i) {
    const auto pack = Pack::open(refused[i].files(), ObjectFormat::sha1);
    ASSERT_FALSE(pack) << i;
    EXPECT_EQ(pack.error().code, io::Errc::corrupt) << i;
  }
  EXPECT_FALSE(Pack::open(whole.files(), ObjectFormat::sha256));
  EXPECT_TRUE(Pack::open(none.build().files(), ObjectFormat::sha1));
}

TEST(BrokenPack, takes_no_order_that_is_not_its_own) {
  const PackedRepository repository(ObjectFormat::sha1, "-c pack.writeReverseIndex=true");
  const auto right = Pack::open(repository.files.files(), ObjectFormat::sha1);
  ASSERT_TRUE(right);
  const std::string& order = repository.files.reverse_index;
  const auto patched = [&order](std::size_t at, const std::string& with) {
    return std::string(order).replace(at, with.size(), with);
  };
  const std::size_t last = order.size() - 40 - 4;
  const std::string wrong[] = {
      "",
      order.substr(0, 12),
      order.substr(0, order.size() - 1),
      order + std::string(4, '\0'),
      patched(12, order.substr(16, 4)),                        // one twice
      patched(12, order.substr(16, 4) + order.substr(12, 4)),  // swapped
      patched(last, order.substr(12, 4)),
      patched(last, big_endian((*right)->count(), 4)),
      patched(last, big_endian(0xffffffff, 4)),
      patched(12, std::string(order.size() - 52, '\0')),
  };
  for (const std::string& reverse_index : wrong) {
    PackBytes files = repository.files;
    files.reverse_index = reverse_index;
    const auto pack = Pack::open(files.files(), ObjectFormat::sha1);
    ASSERT_TRUE(pack);
    for (std::uint32_t rank = 0; rank < (*pack)->count(); ++rank) {
      ASSERT_EQ((*pack)->offset_at(rank), (*right)->offset_at(rank));
      ASSERT_EQ((*pack)->id_at(rank), (*right)->id_at(rank));
      ASSERT_EQ((*pack)->rank_of_position((*pack)->position_of_rank(rank)), rank);
    }
  }
}

// What an entry is not, in a pack whose other entries are good. The bad one is the last of three.
TEST(BrokenPack, loses_only_the_entries_that_are_malformed) {
  HandMadePack good;
  good.add(whole_entry(ObjectType::blob, kContent));
  good.add(delta_entry(6, base_distance(good.end() - 12), kDelta));
  ASSERT_LT(good.end(), 128U);
  const std::string ends = deflated(kDelta);
  const std::string huge(9, '\xff');                                       // of varints
  const std::string two_to_64 = "\x80" + std::string(7, '\xfe') + "\xff";  // but the last 7 bits
  const std::string refused[] = {
      entry_header(0, 9) + deflated(kContent),
      entry_header(5, 9) + deflated(kContent),
      std::string("\xb0", 1),  // a size without an end
      "\xb0" + std::string(40, '\x80'),
      "\xbf" + huge + "\x01" + ends,  // more than 64 bits
      "\xbf\xff\xff\xff\xff\xff\xff\xff\xff\x10" + ends,
      "\xb9" + std::string(20, '\x80') + std::string(1, '\0') + deflated(kContent),
      "\xb9" + std::string(8, '\x80') + "\x10" + deflated(kContent),  // bit 64, and nine
      entry_header(3, 1 << 20) + deflated(kContent),  // so few bytes do not inflate to that
      entry_header(3, UINT64_MAX) + deflated(kContent),
      entry_header(3, 9),
      entry_header(6, 4),
      delta_entry(6, base_distance(0), kDelta),                 // itself
      delta_entry(6, base_distance(1), kDelta),                 // into another entry
      delta_entry(6, base_distance(good.end() + 100), kDelta),  // before the pack
      delta_entry(6, base_distance(UINT64_MAX), kDelta),
      delta_entry(6, two_to_64 + static_cast<char>(good.end() - 12), kDelta),  // and the first
      entry_header(6, 4) + "\x80",
      entry_header(6, 4) + std::string(40, '\xff'),
      delta_entry(6, huge + std::string(1, '\0'), kDelta),
      entry_header(7, 4),
      entry_header(7, 4) + good.name_bytes(0).substr(0, 19),
      delta_entry(7, good.name_bytes(2), kDelta),  // itself
      delta_entry(7, good.name_bytes(9), kDelta),  // not here
      delta_entry(7, std::string(20, '\0').substr(1) + "\x01", kDelta),
      entry_header(7, 4) + good.name_bytes(0),  // no data: four bytes from none
  };
  for (std::size_t i = 0; i < std::size(refused); ++i) {
    SCOPED_TRACE(i);
    HandMadePack made = good;
    made.add(refused[i]);
    const PackBytes bytes = made.build();
    const auto pack = Pack::open(bytes.files(), ObjectFormat::sha1);
    ASSERT_TRUE(pack);
    for (int again = 0; again < 2; ++again) {  // without the table, and with it
      EXPECT_FALSE((*pack)->entry_at(2));
      EXPECT_FALSE((*pack)->size_at(2));
      EXPECT_EQ((*pack)->size_at(1).value(), 9U);
      EXPECT_EQ((*pack)->entry_at(1)->base_rank, 0U);
      EXPECT_FALSE((*pack)->base_of(2));
    }
    EXPECT_EQ((*pack)->entry_at(2).error().code, io::Errc::corrupt);
    EXPECT_EQ((*pack)->base_of(2).error().code, io::Errc::corrupt);
    EXPECT_EQ((*pack)->type_at(2).error().code, io::Errc::corrupt);
    EXPECT_EQ((*pack)->type_at(0).value(), ObjectType::blob);
    EXPECT_EQ((*pack)->base_of(0).value(), kNoRank);
    EXPECT_EQ((*pack)->base_of(1).value(), 0U);
  }
}

TEST(BrokenPack, knows_no_size_of_a_delta_that_is_none) {
  const std::string refused[] = {
      "",
      "\x09",
      std::string("\x09\x80", 2),
      std::string(10, '\xff') + std::string("\x01\x09", 2),
      "\x09" + std::string(9, '\x80') + "\x02",  // bit 64
  };
  for (const std::string& delta : refused) {
    HandMadePack made;
    made.add(whole_entry(ObjectType::blob, kContent));
    made.add(delta_entry(7, made.name_bytes(0), delta));
    const PackBytes bytes = made.build();
    const auto pack = Pack::open(bytes.files(), ObjectFormat::sha1);
    ASSERT_TRUE((*pack)->entry_at(1));
    EXPECT_EQ((*pack)->size_at(1).error().code, io::Errc::corrupt);
  }
  HandMadePack made;
  made.add(whole_entry(ObjectType::blob, kContent));
  made.add(entry_header(7, 4) + made.name_bytes(0) + "this is no zlib stream");
  const PackBytes bytes = made.build();
  EXPECT_FALSE((*Pack::open(bytes.files(), ObjectFormat::sha1))->size_at(1));
}

TEST(BrokenPack, has_no_type_where_a_chain_bites_its_tail) {
  HandMadePack made;
  const auto by_name = [&made](std::size_t n) {
    made.add(delta_entry(7, made.name_bytes(n), kDelta));
  };
  by_name(1);  // 0 <-> 1
  by_name(0);
  by_name(3);  // 2 -> 3 -> 4 -> 2
  by_name(4);
  by_name(2);
  made.add(delta_entry(6, base_distance(made.end() - made.offsets[4]), kDelta));  // 5 -> 4
  by_name(7);  // 6 -> 7 -> 8, which is whole
  by_name(8);
  made.add(whole_entry(ObjectType::tag, kContent));
  made.add(delta_entry(6, base_distance(made.end() - made.offsets[6]), kDelta));  // 9 -> 6
  const PackBytes bytes = made.build();
  const auto pack = Pack::open(bytes.files(), ObjectFormat::sha1);
  ASSERT_TRUE(pack);
  for (std::uint32_t rank = 0; rank < 6; ++rank) {
    EXPECT_EQ((*pack)->type_at(rank).error().code, io::Errc::corrupt) << rank;
    EXPECT_EQ((*pack)->base_of(rank).error().code, io::Errc::corrupt) << rank;
    EXPECT_TRUE((*pack)->entry_at(rank)) << rank;  // each for itself is well formed
  }
  for (std::uint32_t rank = 6; rank < 10; ++rank) {
    EXPECT_EQ((*pack)->type_at(rank).value(), ObjectType::tag) << rank;
  }
  EXPECT_EQ((*pack)->base_of(6).value(), 7U);
  EXPECT_EQ((*pack)->base_of(9).value(), 6U);
}

TEST(BrokenPack, leads_the_first_who_asks_into_no_circle) {
  HandMadePack made;
  for (const std::size_t base : {2U, 0U, 1U}) {  // 0 -> 2 -> 1 -> 0
    made.add(delta_entry(7, made.name_bytes(base), kDelta));
  }
  while (made.offsets.size() < 200) made.add(whole_entry(ObjectType::blob, kContent));
  const PackBytes bytes = made.build();
  const auto open = [&bytes] { return std::move(*Pack::open(bytes.files(), ObjectFormat::sha1)); };
  for (std::uint32_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(open()->type_at(rank).error().code, io::Errc::corrupt) << rank;
  }
  EXPECT_EQ(open()->base_of(0).error().code, io::Errc::corrupt);  // the base that comes later
}

TEST(BrokenPack, follows_chains_of_a_bounded_length) {
  for (const bool bases_first : {true, false}) {
    HandMadePack made;
    constexpr std::uint32_t kDeltas = kDeltaChainMax + 2;
    if (bases_first) made.add(whole_entry(ObjectType::tree, kContent));
    for (std::uint32_t i = 0; i < kDeltas; ++i) {
      made.add(delta_entry(7, made.name_bytes(bases_first ? i : i + 1), kDelta));
    }
    if (!bases_first) made.add(whole_entry(ObjectType::tree, kContent));
    const PackBytes bytes = made.build();
    const auto pack = Pack::open(bytes.files(), ObjectFormat::sha1);
    ASSERT_TRUE(pack);
    const auto at_depth = [&](std::uint32_t depth) {
      return (*pack)->type_at(bases_first ? depth : kDeltas - depth);
    };
    EXPECT_EQ(at_depth(0).value(), ObjectType::tree);
    EXPECT_EQ(at_depth(kDeltaChainMax).value(), ObjectType::tree);
    EXPECT_FALSE(at_depth(kDeltaChainMax + 1));
    EXPECT_FALSE(at_depth(kDeltaChainMax + 2));
  }
}

// A pack of more than 8 GiB, most of it a hole: its offsets need their upper halves.
TEST(LargePack, is_read_beyond_32_bits) {
  constexpr std::uint64_t kHole = std::uint64_t{17} << 29;  // 8.5 GiB
  HandMadePack made;
  const std::string first = whole_entry(ObjectType::blob, kContent);
  const std::string second = whole_entry(ObjectType::tree, kContent);
  const std::string near = delta_entry(6, base_distance(second.size()), kDelta);
  const std::string far =
      delta_entry(6, base_distance(kHole + second.size() + near.size() - 12), kDelta);
  made.offsets = {12, kHole, kHole + second.size(), kHole + second.size() + near.size()};
  const std::string tail = second + near + far + made.trailer();
  const std::string index = made.index();

  const ScratchRepository scratch;
  const std::string path = scratch.folder() + "/large.pack";
  io::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::string head = "PACK" + big_endian(2, 4) + big_endian(4, 4) + first;
  ASSERT_EQ(::pwrite(fd.get(), head.data(), head.size(), 0), static_cast<ssize_t>(head.size()));
  ASSERT_EQ(::pwrite(fd.get(), tail.data(), tail.size(), kHole), static_cast<ssize_t>(tail.size()));
  const auto mapping = io::FileMapping::open(fd.get());
  ASSERT_TRUE(mapping);
  const auto pack = Pack::open({mapping->bytes(), bytes_of(index), {}}, ObjectFormat::sha1);
  ASSERT_TRUE(pack);
  for (std::uint32_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ((*pack)->offset_at(rank), made.offsets[rank]);
    EXPECT_EQ((*pack)->rank_at(made.offsets[rank]), rank);
    EXPECT_EQ((*pack)->find(made.name(rank)), rank);
    EXPECT_EQ((*pack)->size_at(rank).value(), 9U);
  }
  EXPECT_EQ((*pack)->rank_at(kHole & 0xffffffff), std::nullopt);
  EXPECT_EQ((*pack)->entry_at(0)->bytes, kHole - 12);
  EXPECT_EQ((*pack)->entry_at(3)->reference_bytes, 5);
  EXPECT_EQ((*pack)->base_of(2).value(), 1U);
  EXPECT_EQ((*pack)->base_of(3).value(), 0U);
  EXPECT_EQ((*pack)->type_at(2).value(), ObjectType::tree);
  EXPECT_EQ((*pack)->end_at(3), kHole + tail.size() - 20);
}

}  // namespace
}  // namespace weir::git
