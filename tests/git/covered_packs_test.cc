#include "git/covered_packs.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/git/packs_under_one_index.h"

namespace weir::git {
namespace {

// Sets hold only canonical numbers, and find() gives only those.
void expect_one_number_an_object(const PacksUnderOneIndex& repository) {
  const OpenedStore names_last(repository), names_first(repository);
  const ObjectStore& store = *names_last.store;
  std::set<ObjectNumber> canonical;
  for (ObjectNumber number = 0; number + 1 < store.count(); ++number) {
    canonical.insert(store.canonical(number));
    EXPECT_EQ(store.canonical(number), names_first.store->find(store.id(number)));
  }
  const std::vector<ObjectId> ids = repository.all_objects();
  EXPECT_EQ(canonical.size(), ids.size());
  for (const ObjectId& id : ids) {
    const std::optional<ObjectNumber> number = names_first.store->find(id);
    ASSERT_TRUE(number) << id.to_hex();
    EXPECT_EQ(store.id(*number), id);
    EXPECT_EQ(store.canonical(*number), *number) << id.to_hex();
  }
}

TEST(CoveredPacks, go_by_the_copies_that_their_index_chose) {
  const PacksUnderOneIndex repository;
  repository.git("multi-pack-index write");
  const OpenedStore there(repository);
  ASSERT_EQ(there.store->covered().size(), 1U);
  const MultiPackIndex& index = there.store->covered().front().index();
  EXPECT_EQ(index.packs(), there.store->packs().size());
  EXPECT_LT(index.count(), there.store->count() - 1) << "nothing is there twice";
  for (const ObjectId& id : repository.all_objects()) {
    const MultiPackIndex::Place chosen = *index.place_at(*index.find(id));
    const ObjectStore::Place place = there.store->place(*there.store->find(id));
    EXPECT_EQ(there.pack_name(*there.store->find(id)) + ".idx", index.pack_name(chosen.pack));
    EXPECT_EQ(place.stored->pack->offset_at(place.rank), chosen.offset);
  }
  expect_one_number_an_object(repository);
}

TEST(CoveredPacks, begin_with_the_preferred_pack) {
  const PacksUnderOneIndex repository;
  const std::size_t packs = OpenedStore(repository).store->packs().size();
  for (std::size_t preferred = 0; preferred < packs; ++preferred) {
    const OpenedStore before(repository);
    const std::string name = before.files[before.store->packs()[preferred].file].file.name;
    repository.git("multi-pack-index write --bitmap --preferred-pack=" + name + ".idx");
    const OpenedStore there(repository);
    const StoredPack& first = there.store->packs().front();
    EXPECT_EQ(there.files[first.file].file.name, name);
    for (std::uint32_t rank = 0; rank < first.pack->count(); ++rank) {
      EXPECT_EQ(there.store->find(first.pack->id_at(rank)), rank);
    }
    expect_one_number_an_object(repository);
    repository.run("rm " + repository.path() + "/objects/pack/multi-pack-index*");
  }
}

TEST(CoveredPacks, come_before_packs_that_came_later) {
  PacksUnderOneIndex repository;
  repository.git("multi-pack-index write --bitmap");
  const std::vector<ObjectId> covered = repository.all_objects();
  repository.change(3);
  repository.repeat_objects("main~2");
  const OpenedStore there(repository);
  ASSERT_EQ(there.store->covered().size(), 1U);
  const CoveredPacks& packs = there.store->covered().front();
  EXPECT_EQ(there.store->packs().size(), packs.index().packs() + 2);
  for (const ObjectId& id : covered) EXPECT_EQ(there.store->find(id), packs.find(id));
  expect_one_number_an_object(repository);
}

TEST(CoveredPacks, of_an_alternate_come_after_ones_own) {
  PacksUnderOneIndex repository;
  repository.run("cp -a " + repository.path() + " " + repository.folder() + "/pool.git");
  repository.write("objects/info/alternates", repository.folder() + "/pool.git/objects\n");
  repository.change(2);
  for (const char* git_dir : {"pool.git", "a.git"}) {
    repository.run("git -C " + repository.folder() + "/" + git_dir + " multi-pack-index write");
    expect_one_number_an_object(repository);
  }
  const OpenedStore there(repository);
  ASSERT_EQ(there.store->covered().size(), 2U);
  for (const ObjectId& id : repository.all_objects()) {
    const StoredPack& stored = *there.store->place(*there.store->find(id)).stored;
    EXPECT_EQ(there.files[stored.file].file.store, 0U);
  }
}

constexpr std::size_t kRow = 8;  // of OOFF
constexpr std::size_t kName = 20;

std::uint8_t byte_of(const std::string& chunk, std::size_t at) {
  return static_cast<std::uint8_t>(chunk[at]);
}

// The first object that is in one pack alone; so its place is the only one it could have.
std::size_t lone_object(const PacksUnderOneIndex& repository, ChunkFile& file) {
  const OpenedStore there(repository);
  for (std::size_t at = 0;; ++at) {
    const auto* const name =
        reinterpret_cast<const std::uint8_t*>(file.chunk("OIDL").data()) + at * kName;
    const ObjectId id = ObjectId::from_bytes(name, ObjectFormat::sha1);
    std::size_t copies = 0;
    for (const StoredPack& stored : there.store->packs())
      copies += stored.pack->find(id).has_value();
    if (copies == 1) return at;
  }
}

void leave_out(ChunkFile& file, std::size_t object) {
  std::string& names = file.chunk("OIDL");
  names.erase(object * kName, kName);
  file.chunk("OOFF").erase(object * kRow, kRow);
  std::vector<std::uint8_t> first_bytes;
  for (std::size_t at = 0; at < names.size(); at += kName)
    first_bytes.push_back(byte_of(names, at));
  file.chunk("OIDF") = fan_out(first_bytes);
}

TEST(CoveredPacks, are_searched_one_by_one_if_their_index_lies) {
  const struct {
    const char* what;
    void (*change)(ChunkFile&, std::size_t lone);
  } lies[] = {
      {"no index at all", [](ChunkFile& f, std::size_t) { f.head[0] = 'X'; }},
      {"another version", [](ChunkFile& f, std::size_t) { f.head[4] = 9; }},
      {"a pack that is not there",
       [](ChunkFile& f, std::size_t) {
         std::string& names = f.chunk("PNAM");
         names.replace(names.rfind(".idx") - 40, 40, 40, 'f');
       }},
      {"a name that is no index",
       [](ChunkFile& f, std::size_t) {
         std::string& names = f.chunk("PNAM");
         names.replace(names.rfind(".idx"), 4, ".xyz");
       }},
      {"a place that is no object's",
       [](ChunkFile& f, std::size_t lone) { ++f.chunk("OOFF")[lone * kRow + 7]; }},
      {"the place of another object",
       [](ChunkFile& f, std::size_t lone) {
         std::string& rows = f.chunk("OOFF");
         for (std::size_t at = 0; at < rows.size(); at += kRow) {
           if (at == lone * kRow || rows.compare(at, 4, rows, lone * kRow, 4) != 0) continue;
           rows.replace(lone * kRow, kRow, rows.substr(at, kRow));
         }
       }},
      {"a pack that has no such object",
       [](ChunkFile& f, std::size_t lone) {
         char& pack = f.chunk("OOFF")[lone * kRow + 3];
         pack = pack == 0 ? 1 : 0;
       }},
      {"a pack too many",
       [](ChunkFile& f, std::size_t lone) { f.chunk("OOFF")[lone * kRow] = '\x7f'; }},
      {"a far place where there is none",
       [](ChunkFile& f, std::size_t lone) {
         f.chunk("OOFF").replace(lone * kRow + 4, 4, 4, '\xff');
       }},
      {"another object",
       [](ChunkFile& f, std::size_t lone) { f.chunk("OIDL")[lone * kName + 19] ^= 1; }},
      {"two objects for each other",
       [](ChunkFile& f, std::size_t lone) {
         const std::size_t other = lone == 0 ? 1 : lone - 1;
         for (const auto& [name, bytes] : {std::pair{"OIDL", kName}, std::pair{"OOFF", kRow}}) {
           std::string& chunk = f.chunk(name);
           const std::string kept = chunk.substr(lone * bytes, bytes);
           chunk.replace(lone * bytes, bytes, chunk.substr(other * bytes, bytes));
           chunk.replace(other * bytes, bytes, kept);
         }
       }},
      {"names where its fan-out has none",
       [](ChunkFile& f, std::size_t) { f.chunk("OIDF").replace(0, 255 * 4, 255 * 4, '\0'); }},
      {"an object too few", [](ChunkFile& f, std::size_t lone) { leave_out(f, lone); }},
      {"its last object missing",
       [](ChunkFile& f, std::size_t) { leave_out(f, f.chunk("OIDL").size() / kName - 1); }},
      {"its first object missing", [](ChunkFile& f, std::size_t) { leave_out(f, 0); }},
  };
  const PacksUnderOneIndex repository;
  const OpenedStore without(repository);
  const std::vector<ObjectId> ids = repository.all_objects();
  repository.git("multi-pack-index write");
  const ChunkFile true_index = repository.index_file();
  ChunkFile copy = true_index;
  const std::size_t lone = lone_object(repository, copy);
  for (const auto& lie : lies) {
    ChunkFile file = true_index;
    lie.change(file, lone);
    repository.replace_index(file);
    const OpenedStore there(repository);
    EXPECT_TRUE(there.store->covered().empty()) << lie.what;
    ASSERT_EQ(there.store->count(), without.store->count()) << lie.what;
    for (const ObjectId& id : ids) {
      const std::optional<ObjectNumber> number = there.store->find(id);
      ASSERT_TRUE(number) << lie.what;
      EXPECT_EQ(there.store->id(*number), id) << lie.what;
    }
    for (ObjectNumber number = 0; number + 1 < there.store->count(); ++number) {
      EXPECT_EQ(there.store->canonical(number), there.store->find(there.store->id(number)))
          << lie.what;
    }
  }
  repository.replace_index(true_index);
  EXPECT_EQ(OpenedStore(repository).store->covered().size(), 1U);
}

TEST(CoveredPacks, have_numbers_by_bit_only_in_the_order_of_the_format) {
  const PacksUnderOneIndex repository;
  repository.git("multi-pack-index write --bitmap");
  const ChunkFile true_index = repository.index_file();
  const struct {
    const char* what;
    void (*change)(std::string& order);
  } lies[] = {
      {"an object twice", [](std::string& order) { order.replace(8, 4, order.substr(4, 4)); }},
      {"two objects swapped",
       [](std::string& order) {
         order = order.substr(4, 4) + order.substr(0, 4) + order.substr(8);
       }},
      {"the last object first",
       [](std::string& order) {
         order = order.substr(order.size() - 4) + order.substr(0, order.size() - 4);
       }},
      {"no such object", [](std::string& order) { order.replace(order.size() - 4, 4, 4, '\xff'); }},
  };
  for (const auto& lie : lies) {
    ChunkFile file = true_index;
    lie.change(file.chunk("RIDX"));
    repository.replace_index(file);
    const OpenedStore there(repository);
    ASSERT_EQ(there.store->covered().size(), 1U) << lie.what;
    EXPECT_TRUE(there.store->covered().front().numbers_by_bit().empty()) << lie.what;
  }
  repository.replace_index(true_index);
  const OpenedStore there(repository);
  const CoveredPacks& covered = there.store->covered().front();
  const std::vector<ObjectNumber> numbers = covered.numbers_by_bit();
  EXPECT_EQ(std::set(numbers.begin(), numbers.end()).size(), covered.index().count());
}

}  // namespace
}  // namespace weir::git
