#include "git/pack.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "git/object_codec.h"
#include "tests/git/packed_repository.h"

namespace weir::git {
namespace {

std::string inflated(const Pack& pack, const PackEntry& entry) {
  std::string content(entry.size, '\0');
  Inflater inflater;
  const auto taken =
      inflater.inflate(pack.bytes().subspan(entry.data_offset(), entry.data_bytes()),
                       {reinterpret_cast<std::uint8_t*>(content.data()), content.size()});
  EXPECT_EQ(taken.value_or(0), entry.data_bytes());
  return content;
}
std::string content_at(const Pack& pack, std::uint32_t rank) {
  const auto entry = pack.entry_at(rank);
  const std::string stored = inflated(pack, *entry);
  if (!entry->is_delta()) return stored;
  const std::string base = content_at(pack, entry->base_rank);
  std::string content(delta_sizes(bytes_of(stored))->result, '\0');
  EXPECT_TRUE(apply_delta(bytes_of(base), bytes_of(stored),
                          {reinterpret_cast<std::uint8_t*>(content.data()), content.size()}));
  return content;
}

struct Storage {
  const char* name;
  ObjectFormat format;
  const char* options;
  bool by_name;
  bool has_reverse_index;
};

class PackOfGit : public testing::TestWithParam<Storage> {};

TEST_P(PackOfGit, is_read_as_git_reads_it) {
  const PackedRepository repository(GetParam().format, GetParam().options);
  ASSERT_EQ(!repository.files.reverse_index.empty(), GetParam().has_reverse_index);
  const auto pack = Pack::open(repository.files.files(), GetParam().format);
  ASSERT_TRUE(pack);

  // <id> <type> <size> <bytes> <offset> [<depth> <base>], in the order of offsets.
  std::istringstream verified(repository.scratch.git("verify-pack -v " + repository.pack_path));
  std::uint32_t rank = 0;
  std::uint32_t deltas = 0;
  for (std::string line; std::getline(verified, line);) {
    std::istringstream words(line);
    std::string hex, type, base;
    std::uint64_t size = 0, bytes = 0, offset = 0;
    unsigned depth = 0;
    words >> hex >> type >> size >> bytes >> offset >> depth >> base;
    const auto id = ObjectId::from_hex(hex);
    if (!id) continue;  // the summary
    SCOPED_TRACE(line);
    ASSERT_EQ((*pack)->find(*id), rank);
    EXPECT_EQ((*pack)->rank_at(offset), rank);
    EXPECT_EQ((*pack)->rank_at(offset + 1), std::nullopt);
    EXPECT_EQ((*pack)->id_at(rank), *id);
    EXPECT_EQ((*pack)->rank_of_position((*pack)->position_of_rank(rank)), rank);
    EXPECT_EQ((*pack)->offset_at(rank), offset);
    EXPECT_EQ((*pack)->end_at(rank), offset + bytes);
    EXPECT_EQ(type_name(*(*pack)->type_at(rank)), type);
    const auto entry = (*pack)->entry_at(rank);
    ASSERT_TRUE(entry);
    EXPECT_EQ(entry->size, size);
    EXPECT_EQ(entry->bytes, bytes);
    EXPECT_EQ(entry->is_delta(), !base.empty());
    EXPECT_EQ(entry->base_rank, *(*pack)->base_of(rank));
    if (entry->is_delta()) {
      ++deltas;
      EXPECT_EQ((*pack)->id_at(entry->base_rank).to_hex(), base);
      EXPECT_EQ(entry->by_name, GetParam().by_name);
    } else {
      EXPECT_EQ(type_name(entry->type), type);
    }
    ++rank;
  }
  EXPECT_EQ(rank, (*pack)->count());
  EXPECT_GT(deltas, 20U);
}

TEST_P(PackOfGit, tells_the_first_who_asks_what_it_tells_those_who_ask_for_all) {
  const PackedRepository repository(GetParam().format, GetParam().options);
  const auto open = [&repository] {
    return std::move(*Pack::open(repository.files.files(), GetParam().format));
  };
  const auto all = open();
  for (std::uint32_t round = 0; round < 2 * all->count(); ++round) {
    (void)all->type_at(round % all->count());  // so many that it has made its table
  }
  for (std::uint32_t rank = 0; rank < all->count(); ++rank) {
    EXPECT_EQ(*open()->base_of(rank), *all->base_of(rank)) << rank;
    EXPECT_EQ(*open()->type_at(rank), *all->type_at(rank)) << rank;
  }
}

TEST_P(PackOfGit, holds_the_objects_that_git_finds_in_it) {
  const PackedRepository repository(GetParam().format, GetParam().options);
  const auto pack = Pack::open(repository.files.files(), GetParam().format);
  ASSERT_TRUE(pack);
  const std::string objects =
      repository.scratch.git("cat-file --batch --batch-all-objects --unordered") + "\n";
  std::uint32_t found = 0;
  for (std::size_t at = 0; at < objects.size(); ++found) {
    const std::size_t end = objects.find('\n', at);
    std::istringstream words(objects.substr(at, end - at));
    std::string hex, type;
    std::size_t size = 0;
    words >> hex >> type >> size;
    SCOPED_TRACE(hex);
    const auto rank = (*pack)->find(*ObjectId::from_hex(hex));
    ASSERT_TRUE(rank);
    EXPECT_EQ(*(*pack)->size_at(*rank), size);
    EXPECT_EQ(content_at(**pack, *rank), objects.substr(end + 1, size));
    at = end + 1 + size + 1;
  }
  EXPECT_EQ(found, (*pack)->count());
}

INSTANTIATE_TEST_SUITE_P(
    All, PackOfGit,
    testing::Values(
        Storage{"plain", ObjectFormat::sha1, "", false, false},
        Storage{"with_its_order", ObjectFormat::sha1, "-c pack.writeReverseIndex=true", false,
                true},
        Storage{"deltas_by_name", ObjectFormat::sha1, "-c repack.useDeltaBaseOffset=false", true,
                false},
        Storage{"index_version_1", ObjectFormat::sha1, "-c pack.indexVersion=1", false, false},
        Storage{"sha256", ObjectFormat::sha256, "", false, false},
        Storage{"sha256_index_version_1", ObjectFormat::sha256, "-c pack.indexVersion=1", false,
                false},
        Storage{"sha256_all_ways", ObjectFormat::sha256,
                "-c pack.writeReverseIndex=true -c repack.useDeltaBaseOffset=false", true, true}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace weir::git
