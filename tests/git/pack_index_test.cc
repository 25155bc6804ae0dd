#include "git/pack_index.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <sstream>
#include <string>

#include "tests/git/packed_repository.h"

namespace weir::git {
namespace {

TEST(PackIndex, says_what_show_index_says) {
  for (const ObjectFormat format : {ObjectFormat::sha1, ObjectFormat::sha256}) {
    for (const unsigned version : {1U, 2U}) {
      const PackedRepository repository(format, "-c pack.indexVersion=" + std::to_string(version));
      const auto index = PackIndex::open(bytes_of(repository.files.index), format);
      ASSERT_TRUE(index);
      std::istringstream shown(repository.scratch.git("show-index", repository.files.index));
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
        EXPECT_EQ(index->crc32_at(position).has_value(), version == 2);
        if (version == 2) {
          EXPECT_EQ(index->crc32_at(position), std::stoul(crc.substr(1), nullptr, 16));
        }
      }
      EXPECT_EQ(position, index->count());
      EXPECT_TRUE(std::ranges::equal(index->pack_checksum(),
                                     bytes_of(repository.files.pack).last(hash_bytes(format))));
    }
  }
}

}  // namespace
}  // namespace weir::git
