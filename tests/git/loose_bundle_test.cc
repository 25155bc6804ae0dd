#include "git/loose_bundle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/git/hand_made_pack.h"

namespace weir::git {
namespace {

constexpr std::size_t kRowBytes = 48;
constexpr std::size_t kHeaderBytes = 16;

ObjectId id_of(char digit, ObjectFormat format = ObjectFormat::sha1) {
  return *ObjectId::from_hex(std::string(2 * hash_bytes(format), digit));
}
std::string blob(const std::string& content) {
  return deflated("blob " + std::to_string(content.size()) + '\0' + content);
}
std::string bundle_of(const std::string& stream) {
  const LooseFile file{id_of('a'), stream};
  return make_loose_bundle({&file, 1});
}

TEST(LooseBundle, shows_the_objects_that_git_wrote) {
  for (const ObjectFormat format : {ObjectFormat::sha1, ObjectFormat::sha256}) {
    const ScratchRepository scratch("--object-format=" + std::string(format_name(format)));
    const std::string commit = scratch.commit("one", scratch.commit("root"));
    scratch.git("tag -a -m x v1 " + commit);
    scratch.git("hash-object -w --stdin", std::string(100000, 'x') + "y");
    scratch.git("-c core.looseCompression=0 hash-object -w --stdin", "not compressed");
    std::vector<LooseFile> files;
    for (const auto& folder : std::filesystem::directory_iterator(scratch.path() + "/objects")) {
      const std::string first = folder.path().filename();
      if (first.size() != 2) continue;
      for (const auto& file : std::filesystem::directory_iterator(folder)) {
        const std::string rest = file.path().filename();
        files.push_back(
            {*ObjectId::from_hex(first + rest), scratch.read("objects/" + first + "/" + rest)});
      }
    }
    std::ranges::sort(files, {}, &LooseFile::id);
    const std::string bytes = make_loose_bundle(files);
    const auto bundle = LooseBundle::open(bytes_of(bytes), format);
    ASSERT_TRUE(bundle);
    EXPECT_EQ(bundle->count(), 6U);
    EXPECT_EQ(bundle->find(id_of('a', format)), std::nullopt);

    Inflater inflater;
    std::istringstream listed(scratch.git("cat-file --batch-check --batch-all-objects"));
    std::uint32_t position = 0;
    std::string hex, type;
    for (std::uint64_t size = 0; listed >> hex >> type >> size; ++position) {
      SCOPED_TRACE(hex);
      EXPECT_EQ(bundle->id_at(position).to_hex(), hex);
      EXPECT_EQ(bundle->find(bundle->id_at(position)), position);
      std::string content = "overwritten";
      const auto head = bundle->head_at(position, inflater);
      const auto read = bundle->read(position, inflater, size, content);
      ASSERT_TRUE(head);
      ASSERT_TRUE(read);
      EXPECT_EQ(type_name(head->type), type);
      EXPECT_EQ(type_name(read->type), type);
      EXPECT_EQ(head->size, size);
      EXPECT_EQ(read->size, size);
      EXPECT_EQ(content, scratch.run("git -C " + scratch.path() + " cat-file " + type + " " + hex));
      if (size == 0) continue;
      EXPECT_EQ(bundle->read(position, inflater, size - 1, content).error().code, io::Errc::limit);
    }
    EXPECT_EQ(position, bundle->count());
  }
}

TEST(LooseBundle, may_be_empty) {
  const std::string bytes = make_loose_bundle({});
  const auto bundle = LooseBundle::open(bytes_of(bytes), ObjectFormat::sha1);
  ASSERT_TRUE(bundle);
  EXPECT_EQ(bundle->count(), 0U);
  EXPECT_EQ(bundle->find(id_of('a')), std::nullopt);
}

TEST(LooseBundle, finds_no_name_of_the_other_format) {
  const std::string bytes = bundle_of(blob("x"));
  const auto bundle = LooseBundle::open(bytes_of(bytes), ObjectFormat::sha1);
  ObjectId longer = id_of('a');
  longer.bytes = 32;
  EXPECT_EQ(bundle->find(id_of('a')), 0U);
  EXPECT_EQ(bundle->find(longer), std::nullopt);
  EXPECT_EQ(bundle->find(ObjectId{}), std::nullopt);
}

TEST(LooseBundle, refuses_tables_that_do_not_hold_together) {
  const std::vector<LooseFile> files = {{id_of('a'), blob("first")}, {id_of('b'), blob("second")}};
  const std::string whole = make_loose_bundle(files);
  ASSERT_TRUE(LooseBundle::open(bytes_of(whole), ObjectFormat::sha1));
  const auto patched = [&whole](std::size_t at, const std::string& bytes) {
    return std::string(whole).replace(at, bytes.size(), bytes);
  };
  const std::size_t row = kHeaderBytes + kRowBytes;  // the second
  const std::string top(8, '\xff');
  const std::string refused[] = {
      "",
      whole.substr(0, 15),
      whole.substr(0, kHeaderBytes),
      whole.substr(0, row),
      whole.substr(0, row + kRowBytes - 1),
      whole.substr(0, whole.size() - 1),
      patched(0, "X"),
      patched(7, "2"),
      patched(8, "\x03"),
      patched(12, "\x01"),
      patched(15, "\x80"),
      patched(row, std::string(20, '\xaa')),  // the same name twice
      patched(row, std::string(1, '\x01')),   // falls
      patched(kHeaderBytes + 20, "\x01"),     // more name than the format has
      patched(row + 31, "\x01"),
      patched(row + 32, std::string(8, '\0')),      // into the header
      patched(row + 32, std::string("\x6f\0", 2)),  // into the table
      patched(row + 32, top),
      patched(row + 40, top),
      patched(row + 40, std::string("\0\0\0\0\x01", 5)),
  };
  for (const std::string& bytes : refused) {
    const auto bundle = LooseBundle::open(bytes_of(bytes), ObjectFormat::sha1);
    ASSERT_FALSE(bundle) << testing::PrintToString(bytes);
    EXPECT_EQ(bundle.error().code, io::Errc::corrupt);
  }
  EXPECT_EQ(LooseBundle::open(bytes_of(patched(10, "\x01")), ObjectFormat::sha1).error().code,
            io::Errc::limit);
}

TEST(LooseBundle, refuses_streams_that_are_no_objects) {
  const std::string long_zeros = deflated("blob 0000" + std::string(60, '0') + '\0' + "x");
  const std::string good = blob("content");
  const std::string refused_heads[] = {
      "",
      "no stream",
      good.substr(0, 1),
      good.substr(0, 4),
      deflated(""),
      deflated("blob"),
      deflated("blob "),
      deflated("blob 1"),
      deflated(std::string("blob \0x", 7)),
      deflated(std::string("blob1\0x", 7)),
      deflated(std::string("blob\0 1", 7)),
      deflated(std::string(" 1\0x", 4)),
      deflated(std::string("bloB 1\0x", 8)),
      deflated(std::string("blobs 1\0x", 9)),
      deflated(std::string("blob  1\0x", 9)),
      deflated(std::string("blob 01\0x", 9)),
      deflated(std::string("blob 00\0", 8)),
      deflated(std::string("blob -1\0x", 9)),
      deflated(std::string("blob +1\0x", 9)),
      deflated(std::string("blob 1 \0x", 9)),
      deflated(std::string("blob 0x1\0x", 10)),
      deflated("blob 18446744073709551616" + std::string(1, '\0')),
      deflated("blob 18446744073709551615" + std::string(1, '\0')),  // from so few bytes
      long_zeros,
  };
  Inflater inflater;
  std::string content;
  for (const std::string& stream : refused_heads) {
    const std::string bytes = bundle_of(stream);
    const auto bundle = LooseBundle::open(bytes_of(bytes), ObjectFormat::sha1);
    ASSERT_TRUE(bundle);
    SCOPED_TRACE(testing::PrintToString(stream));
    ASSERT_FALSE(bundle->head_at(0, inflater));
    EXPECT_EQ(bundle->head_at(0, inflater).error().code, io::Errc::corrupt);
    EXPECT_EQ(bundle->read(0, inflater, 1000, content).error().code, io::Errc::corrupt);
  }
  std::string flipped = good;
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  const std::string refused_contents[] = {
      good + "x",
      good + std::string(1, '\0'),
      good + good,
      flipped,
      good.substr(0, good.size() - 1),
      deflated(std::string("blob 2\0x", 8)),
      deflated(std::string("blob 2\0xyz", 10)),
      deflated(std::string("blob 0\0x", 8)),
  };
  for (const std::string& stream : refused_contents) {
    const std::string bytes = bundle_of(stream);
    const auto bundle = LooseBundle::open(bytes_of(bytes), ObjectFormat::sha1);
    ASSERT_TRUE(bundle);
    SCOPED_TRACE(testing::PrintToString(stream));
    ASSERT_FALSE(bundle->read(0, inflater, 1000, content));
    EXPECT_EQ(bundle->read(0, inflater, 1000, content).error().code, io::Errc::corrupt);
  }
}

}  // namespace
}  // namespace weir::git
