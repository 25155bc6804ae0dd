#include "git/stored_bitmaps.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <sstream>

#include "git/reachability.h"
#include "tests/git/packs_under_one_index.h"

namespace weir::git {
namespace {

using Names = std::set<std::string>;

// Each commit that has a set has the one that git finds when it walks. Returns how many have one.
std::size_t expect_same_as_walks(const ScratchRepository& repository, const OpenedStore& there,
                                 const std::string& revisions) {
  StoredBitmaps bitmaps(there.files, *there.store);
  std::size_t sets = 0;
  std::istringstream commits(repository.git("rev-list " + revisions));
  for (std::string commit; std::getline(commits, commit);) {
    ObjectSet set = there.store->empty_set();
    const auto found = bitmaps.add_reachable(*there.store->find(*ObjectId::from_hex(commit)), set);
    EXPECT_TRUE(found.has_value());
    if (!found || !*found) continue;
    ++sets;
    Names got, expected;
    set.for_each([&](ObjectNumber number) {
      EXPECT_EQ(there.store->canonical(number), number);
      got.insert(there.store->id(number).to_hex());
    });
    std::istringstream walked(repository.git("rev-list --objects --no-object-names " + commit));
    for (std::string name; std::getline(walked, name);) expected.insert(name);
    EXPECT_EQ(got, expected) << commit;
  }
  return sets;
}

TEST(StoredBitmaps, are_read_by_the_order_of_a_multi_pack_index) {
  const PacksUnderOneIndex repository;
  const std::size_t packs = OpenedStore(repository).store->packs().size();
  for (std::size_t preferred = 0; preferred < packs; ++preferred) {
    const OpenedStore before(repository);
    repository.git("multi-pack-index write --bitmap --preferred-pack=" +
                   before.files[before.store->packs()[preferred].file].file.name + ".idx");
    EXPECT_GT(expect_same_as_walks(repository, OpenedStore(repository), "main"), 10U);
    repository.run("rm " + repository.path() + "/objects/pack/multi-pack-index*");
  }
}

TEST(StoredBitmaps, go_by_canonical_numbers_where_objects_are_stored_again) {
  PacksUnderOneIndex repository;
  repository.git("repack -adbq");
  repository.change(2);  // a newer pack repeats bases
  EXPECT_GT(expect_same_as_walks(repository, OpenedStore(repository), "main"), 10U);
  repository.git("multi-pack-index write");
  EXPECT_GT(expect_same_as_walks(repository, OpenedStore(repository), "main"), 10U);
}

TEST(StoredBitmaps, of_a_multi_pack_index_come_first) {
  PacksUnderOneIndex repository;
  repository.git("repack -adbq");
  const ObjectId before = repository.id("main");
  repository.change(12);
  repository.git("multi-pack-index write --bitmap");
  const OpenedStore there(repository);
  StoredBitmaps bitmaps(there.files, *there.store);
  for (const ObjectId& commit : {before, repository.id("main")}) {
    ObjectSet set = there.store->empty_set();
    EXPECT_TRUE(*bitmaps.add_reachable(*there.store->find(commit), set)) << commit.to_hex();
  }
  expect_same_as_walks(repository, there, "main");
}

TEST(StoredBitmaps, of_several_stores_are_of_use_at_once) {
  PacksUnderOneIndex repository;
  const std::string pool = repository.folder() + "/pool.git";
  const std::string own = repository.path();
  for (const char* pool_bitmap : {"repack -adbq", "multi-pack-index write --bitmap"}) {
    repository.run("rm -rf " + pool + " && cp -a " + own + " " + pool + " && git -C " + pool + " " +
                   pool_bitmap);
    const std::string theirs = repository.id("main").to_hex();
    // Another history beside it, with a bitmap of its own.
    repository.run("cd " + repository.work() +
                   " && git checkout -q --orphan other && git rm -rqf . ");
    repository.run("rm -rf " + own + "/objects/pack/*");
    repository.write("objects/info/alternates", pool + "/objects\n");
    repository.run("cd " + repository.work() +
                   " && for i in 1 2 3 4 5; do seq $i 900 > o; git add -A; git commit -qm $i; done;"
                   "git push -q origin HEAD:other");
    const std::string ours = repository.git("rev-parse other");
    repository.run("git -C " + own + " rev-list --objects other | git -C " + own +
                   " pack-objects -q " + own + "/objects/pack/pack");
    repository.git("multi-pack-index write --bitmap");
    const OpenedStore there(repository);
    EXPECT_GT(expect_same_as_walks(repository, there, theirs), 10U) << pool_bitmap;
    EXPECT_GE(expect_same_as_walks(repository, there, ours), 5U) << pool_bitmap;
    repository.run("rm -rf " + own + "/objects && cp -a " + pool + "/objects " + own +
                   " && rm -f " + own + "/objects/pack/multi-pack-index* && git -C " + own +
                   " update-ref -d refs/heads/other && cd " + repository.work() +
                   " && git checkout -q -f main && git branch -qD other");
  }
}

TEST(StoredBitmaps, are_passed_over_if_their_bits_have_no_order_that_can_be) {
  const PacksUnderOneIndex repository;
  repository.git("multi-pack-index write --bitmap");
  ChunkFile file = repository.index_file();
  std::string& order = file.chunk("RIDX");
  order.replace(8, 4, order.substr(4, 4));
  repository.replace_index(file);
  const OpenedStore there(repository);
  StoredBitmaps bitmaps(there.files, *there.store);
  EXPECT_FALSE(bitmaps.empty());
  ObjectSet set = there.store->empty_set();
  EXPECT_FALSE(*bitmaps.add_reachable(*there.store->find(repository.id("main")), set));
  EXPECT_TRUE(set.empty());
  EXPECT_TRUE(bitmaps.empty());
}

// The graphs of both say what no commit does, so it shows whose word was taken.
TEST(Reachability, reads_commits_from_the_graphs_of_alternates_too) {
  PacksUnderOneIndex repository;
  const std::string pool = repository.folder() + "/pool.git";
  repository.run("cp -a " + repository.path() + " " + pool);
  repository.write("objects/info/alternates", pool + "/objects\n");
  const ObjectId theirs = repository.id("main");
  repository.change(1);
  const ObjectId ours = repository.id("main");
  repository.run("git -C " + pool + " commit-graph write --reachable");
  repository.git("commit-graph write --stdin-commits", theirs.to_hex());
  for (const auto& [folder, date] : {std::pair{pool, 4000}, std::pair{repository.path(), 5000}}) {
    std::stringstream content;
    content << std::ifstream(folder + "/objects/info/commit-graph", std::ios::binary).rdbuf();
    ChunkFile graph = ChunkFile::of(content.str(), 8);
    std::string& rows = graph.chunk("CDAT");
    for (std::size_t row = 0; row < rows.size(); row += 36) {
      rows.replace(row + 32, 4, BigEndianBytes().u32(static_cast<std::uint64_t>(date)).str());
    }
    repository.run("rm -f " + folder + "/objects/info/commit-graph");
    std::ofstream(folder + "/objects/info/commit-graph", std::ios::binary) << graph.bytes().str();
  }
  const auto date = [&repository](const ObjectId& commit) {
    const OpenedStore there(repository);
    const auto reach = Reachability::open(there.files, *there.store);
    Reachability::Commit read;
    EXPECT_TRUE((*reach)->read_commit(*there.store->find(commit), read));
    return read.date_s;
  };
  EXPECT_EQ(date(theirs), 5000U) << "one's own comes first";
  EXPECT_EQ(date(ours), 1'700'000'000U) << "in no graph";
  repository.run("rm -f " + repository.path() + "/objects/info/commit-graph");
  EXPECT_EQ(date(theirs), 4000U);
}

TEST(ObjectSet, takes_stretches_from_anywhere_to_anywhere) {
  std::mt19937 random(7);
  constexpr std::uint32_t kNumbers = 400;
  for (int round = 0; round < 2000; ++round) {
    ObjectSet from(kNumbers), into(kNumbers), expected(kNumbers);
    for (std::uint32_t number = 0; number < kNumbers; ++number) {
      if (random() % 2 == 0) from.add(number);
      if (random() % 8 == 0) into.add(number);
    }
    expected = into;
    const std::uint32_t count = random() % (kNumbers + 1);
    const std::uint32_t first = random() % (kNumbers - count + 1);
    const std::uint32_t begin = random() % (kNumbers - count + 1);
    for (std::uint32_t i = 0; i < count; ++i) {
      if (from.contains(begin + i)) expected.add(first + i);
    }
    into.add_stretch(first, from, begin, count);
    ASSERT_EQ(into, expected) << first << ' ' << begin << ' ' << count;
  }
}

}  // namespace
}  // namespace weir::git
