#include "git/packed_refs.h"

#include <gtest/gtest.h>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

const std::string kA(40, 'a');
const std::string kB(40, 'b');
const std::string kHeader = "# pack-refs with: peeled fully-peeled sorted \n";

std::shared_ptr<const PackedRefs> parse(const std::string& bytes) {
  std::size_t line = 0;
  auto refs = PackedRefs::parse(bytes, ObjectFormat::sha1, line);
  EXPECT_TRUE(refs) << "line " << line;
  return refs ? *refs : nullptr;
}

TEST(PackedRefs, reads_ids_names_and_peeled_values) {
  const auto refs =
      parse(kHeader + kA + " refs/heads/main\n" + kB + " refs/tags/v1\n^" + kA + "\n");
  ASSERT_EQ(refs->size(), 2U);
  EXPECT_EQ(refs->at(0).name, "refs/heads/main");
  EXPECT_EQ(refs->at(0).hex, kA);
  EXPECT_EQ(refs->at(0).peeled_hex, "");
  EXPECT_EQ(refs->at(1).name, "refs/tags/v1");
  EXPECT_EQ(refs->at(1).peeled_hex, kA);
  EXPECT_TRUE(refs->unpeeled().empty());
}

TEST(PackedRefs, accepts_an_empty_file_and_one_without_a_header) {
  EXPECT_EQ(parse("")->size(), 0U);
  EXPECT_EQ(parse(kHeader)->size(), 0U);
  EXPECT_EQ(parse(kA + " refs/heads/main\n")->size(), 1U);
}

TEST(PackedRefs, knows_which_refs_the_traits_leave_unpeeled) {
  const std::string body =
      kA + " refs/heads/a\n" + kA + " refs/tags/b\n" + kB + " refs/x/c\n^" + kA + "\n";
  EXPECT_EQ(parse(body)->unpeeled(), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(parse("# pack-refs with: peeled \n" + body)->unpeeled(),
            (std::vector<std::uint32_t>{0}));
  EXPECT_TRUE(parse(kHeader + body)->unpeeled().empty());
}

TEST(PackedRefs, sorts_what_an_old_writer_left_unsorted) {
  const auto refs = parse(kA + " refs/tags/z\n^" + kB + "\n" + kB + " refs/heads/b\n" + kA +
                          " refs/heads/a\n" + kA + " refs/heads/b\n");
  ASSERT_EQ(refs->size(), 3U);
  EXPECT_EQ(refs->name(0), "refs/heads/a");
  EXPECT_EQ(refs->name(1), "refs/heads/b");
  EXPECT_EQ(refs->at(1).hex, kB);
  EXPECT_EQ(refs->at(2).peeled_hex, kB);
  EXPECT_EQ(refs->unpeeled(), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(refs->skipped(), 1U);
}

TEST(PackedRefs, lowers_hex_and_skips_names_that_are_no_ref_names) {
  const auto refs = parse(std::string(40, 'A') + "\trefs/heads/main\n" + kA + " refs/heads/a..b\n" +
                          kA + " HEAD\n" + kA + " ../x\n" + kA + " refs/zz\n");
  ASSERT_EQ(refs->size(), 2U);
  EXPECT_EQ(refs->at(0).hex, kA);
  EXPECT_EQ(refs->skipped(), 3U);
}

TEST(PackedRefs, refuses_malformed_files_and_names_the_line) {
  const struct {
    std::string bytes;
    std::size_t line;
  } refused[] = {
      {"#", 1},
      {"# pack-refs with: peeled", 1},
      {"# something else\n", 1},
      {"\n", 1},
      {" \n", 1},
      {kA, 1},
      {kA + "\n", 1},
      {kA + " ", 1},
      {kA + " refs/heads/main", 1},
      {kA + "refs/heads/main\n", 1},
      {kA.substr(1) + " refs/heads/main\n", 1},
      {kA + "a refs/heads/main\n", 1},
      {kA.substr(1) + "g refs/heads/main\n", 1},
      {std::string(39, 'a') + '\0' + " refs/heads/main\n", 1},
      {"^" + kA + "\n", 1},
      {kHeader + kA + " refs/heads/main\n\n", 3},
      {kHeader + kHeader, 2},
      {kHeader + kA + " refs/heads/main\n^" + kA, 3},
      {kHeader + kA + " refs/heads/main\n^\n", 3},
      {kHeader + kA + " refs/heads/main\n^" + kA.substr(1) + "\n", 3},
      {kHeader + kA + " refs/heads/main\n^" + kA + " \n", 3},
      {kHeader + kA + " refs/heads/main\n^" + kA + "\n^" + kA + "\n", 4},
      {kA + " refs/heads/a\nref: refs/heads/a\n", 2},
      {"ref: refs/heads/main\n", 1},
  };
  for (const auto& item : refused) {
    std::size_t line = 0;
    const auto refs = PackedRefs::parse(item.bytes, ObjectFormat::sha1, line);
    ASSERT_FALSE(refs) << item.bytes;
    EXPECT_EQ(refs.error().code, io::Errc::corrupt);
    EXPECT_EQ(line, item.line) << item.bytes;
  }
}

TEST(PackedRefs, reads_a_sha256_file) {
  std::size_t line = 0;
  const std::string id(64, 'c');
  const auto refs = PackedRefs::parse(id + " refs/heads/main\n", ObjectFormat::sha256, line);
  ASSERT_TRUE(refs);
  EXPECT_EQ((*refs)->at(0).hex, id);
  EXPECT_FALSE(PackedRefs::parse(kA + " refs/heads/main\n", ObjectFormat::sha256, line));
}

TEST(PackedRefs, is_read_again_only_when_the_file_changed) {
  const ScratchRepository scratch;
  const std::string path = scratch.path() + "/packed-refs";
  FileStamp stamp;
  std::size_t line = 0;
  auto none = PackedRefs::read_blocking(path, ObjectFormat::sha1, nullptr, {}, stamp, line);
  ASSERT_TRUE(none);
  EXPECT_EQ((*none)->size(), 0U);
  EXPECT_EQ(stamp, FileStamp{});

  scratch.write("packed-refs", kA + " refs/heads/main\n");
  auto young = PackedRefs::read_blocking(path, ObjectFormat::sha1, *none, stamp, stamp, line);
  ASSERT_TRUE(young);
  EXPECT_EQ((*young)->size(), 1U);
  // Wait until the change is old enough to be trusted, reading all the while.
  auto settled = *young;
  while (stamp.is_racy_now()) {
    auto again = PackedRefs::read_blocking(path, ObjectFormat::sha1, settled, stamp, stamp, line);
    ASSERT_TRUE(again);
    settled = *again;
  }
  auto last = PackedRefs::read_blocking(path, ObjectFormat::sha1, settled, stamp, stamp, line);
  auto same = PackedRefs::read_blocking(path, ObjectFormat::sha1, *last, stamp, stamp, line);
  EXPECT_EQ(*last, *same);
  EXPECT_NE(*last, *young);  // it was racy when first read
}

}  // namespace
}  // namespace weir::git
