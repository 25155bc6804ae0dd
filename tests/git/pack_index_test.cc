#include "git/pack_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "tests/git/hand_made_pack.h"

namespace weir::git {
namespace {

TEST(PackIndex, says_what_show_index_says) {
  for (const ObjectFormat format : {ObjectFormat::sha1, ObjectFormat::sha256}) {
    const PackedRepository repository(format, "");
    // The last has most offsets in its 64-bit table.
    for (const std::string version : {"1", "2", "2,0x100"}) {
      const std::string path = repository.scratch.folder() + "/index";
      repository.scratch.git("index-pack --index-version=" + version + " -o " + path + " " +
                             repository.pack_path);
      const std::string file = repository.scratch.run("cat " + path + "; rm -f " + path);
      const auto index = PackIndex::open(bytes_of(file), format);
      ASSERT_TRUE(index);
      std::istringstream shown(repository.scratch.git("show-index", file));
      std::uint32_t position = 0;
      for (std::string line; std::getline(shown, line); ++position) {
        std::istringstream words(line);
        std::uint64_t offset = 0;
        std::string hex, crc;
        words >> offset >> hex >> crc;
        const auto id = ObjectId::from_hex(hex);
        ASSERT_TRUE(id);
        EXPECT_EQ(index->find(*id), position);
        EXPECT_EQ(index->id_at(position), *id);
        EXPECT_EQ(index->offset_at(position), offset);
        EXPECT_EQ(index->crc32_at(position).has_value(), version != "1");
        if (version != "1") {
          EXPECT_EQ(index->crc32_at(position), std::stoul(crc.substr(1), nullptr, 16));
        }
      }
      EXPECT_GT(position, 50U);
      EXPECT_EQ(position, index->count());
      EXPECT_TRUE(std::ranges::equal(index->pack_checksum(),
                                     bytes_of(repository.files.pack).last(hash_bytes(format))));
    }
  }
}

TEST(PackIndex, finds_only_what_it_holds) {
  HandMadePack made;
  for (int i = 0; i < 500; ++i) made.add("x");
  const std::string file = made.index();
  const auto index = PackIndex::open(bytes_of(file), ObjectFormat::sha1);
  ASSERT_TRUE(index);
  for (std::size_t n = 0; n < 500; ++n) {
    ObjectId id = made.name(n);
    const auto position = index->find(id);
    ASSERT_TRUE(position);
    EXPECT_EQ(index->offset_at(*position), 12 + n);
    id.hash[19] = 1;
    EXPECT_EQ(index->find(id), std::nullopt);
    id = made.name(n);
    id.bytes = 32;
    EXPECT_EQ(index->find(id), std::nullopt);
  }
  for (const int byte : {0x00, 0xff}) {
    ObjectId id = made.name(0);
    id.hash.fill(static_cast<std::uint8_t>(byte));
    EXPECT_EQ(index->find(id), std::nullopt);
  }
  EXPECT_EQ(index->find(ObjectId{}), std::nullopt);
}

TEST(PackIndex, may_be_empty) {
  const std::string file = HandMadePack().index();
  const std::string version_1 = file.substr(8);
  for (const std::string& bytes : {file, version_1}) {
    const auto index = PackIndex::open(bytes_of(bytes), ObjectFormat::sha1);
    ASSERT_TRUE(index);
    EXPECT_EQ(index->count(), 0U);
    EXPECT_EQ(index->find(HandMadePack().name(1)), std::nullopt);
  }
}

TEST(PackIndex, points_only_into_its_64_bit_table) {
  HandMadePack made;
  made.add("x");
  made.offsets[0] = 0x123456789abcdef0;
  std::string file = made.index();
  const std::size_t offsets = 8 + 1024 + 24;
  for (const auto& [said, offset] :
       {std::pair<std::uint64_t, std::optional<std::uint64_t>>{0x80000000, 0x123456789abcdef0},
        {0x80000001, std::nullopt},
        {0xffffffff, std::nullopt},
        {0x7fffffff, 0x7fffffff}}) {
    file.replace(offsets, 4, big_endian(said, 4));
    EXPECT_EQ(PackIndex::open(bytes_of(file), ObjectFormat::sha1)->offset_at(0), offset);
  }
}

TEST(PackIndex, refuses_files_whose_parts_do_not_fit) {
  HandMadePack made;
  for (int i = 0; i < 3; ++i) made.add("x");
  const std::string whole = made.index();
  ASSERT_TRUE(PackIndex::open(bytes_of(whole), ObjectFormat::sha1));
  const auto patched = [](std::string bytes, std::size_t at, const std::string& with) {
    return bytes.replace(at, with.size(), with);
  };
  const std::size_t fan_out = 8;
  const std::size_t names = fan_out + 1024;
  const std::string version_1 =
      whole.substr(8, 1024) + std::string(3 * std::size_t{24}, 'n') + std::string(40, 't');
  ASSERT_TRUE(PackIndex::open(bytes_of(version_1), ObjectFormat::sha1));
  const std::string refused[] = {
      "",
      whole.substr(0, 8),
      whole.substr(0, names - 1),
      whole.substr(0, names),
      whole.substr(0, names + 60),
      whole.substr(0, whole.size() - 40),
      whole.substr(0, whole.size() - 20),
      whole.substr(0, whole.size() - 1),
      whole + "x",
      whole + std::string(7, '\0'),
      whole + std::string(std::size_t{4} * 8, '\0'),  // more large offsets than objects
      patched(whole, 0, "\376tOc"),
      patched(whole, 4, big_endian(1, 4)),
      patched(whole, 4, big_endian(3, 4)),
      patched(whole, fan_out, big_endian(4, 4)),            // above those that follow
      patched(whole, fan_out + 255 * 4, big_endian(2, 4)),  // below those before
      patched(whole, fan_out + 255 * 4, big_endian(4, 4)),  // more than there are
      patched(whole, fan_out + 255 * 4, big_endian(0xffffffff, 4)),
      patched(whole, fan_out, std::string(1024, '\xff')),
      patched(whole, fan_out, std::string(1024, '\0')),  // bytes of no object
      version_1.substr(0, 1024),
      version_1.substr(0, version_1.size() - 1),
      version_1 + "x",
      version_1 + std::string(8, '\0'),
      patched(version_1, 0, big_endian(4, 4)),
      patched(version_1, 255 * 4, big_endian(2, 4)),
      patched(version_1, 255 * 4, big_endian(4, 4)),
  };
  for (std::size_t i = 0; i < std::size(refused); ++i) {
    const auto index = PackIndex::open(bytes_of(refused[i]), ObjectFormat::sha1);
    ASSERT_FALSE(index) << i;
    EXPECT_EQ(index.error().code, io::Errc::corrupt) << i;
  }
  EXPECT_FALSE(PackIndex::open(bytes_of(whole), ObjectFormat::sha256));
}

// Names that fall are a broken file, but not one that a lookup could leave.
TEST(PackIndex, survives_names_in_any_order) {
  HandMadePack made;
  for (int i = 0; i < 50; ++i) made.add("x");
  std::string file = made.index();
  std::reverse(file.begin() + 8 + 1024, file.begin() + 8 + 1024 + 50 * 20);
  const auto index = PackIndex::open(bytes_of(file), ObjectFormat::sha1);
  ASSERT_TRUE(index);
  for (std::size_t n = 0; n < 50; ++n) {
    const auto position = index->find(made.name(n));
    if (position) EXPECT_EQ(index->id_at(*position), made.name(n));
  }
}

}  // namespace
}  // namespace weir::git
