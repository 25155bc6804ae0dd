// How much work one plan may be, and that it is each plan's own.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "git/pack_layout.h"
#include "git/reachability.h"
#include "git/repository_files.h"
#include "git/visible_commits.h"
#include "tests/git/recipe_pack.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

class PlanBoundsTest : public testing::Test {
 protected:
  void look() {
    const std::vector<std::string> roots{repository_.folder()};
    files_ = RepositoryFiles::open(*repository_.repository(), ObjectFormat::sha1, nullptr, roots)
                 .value();
    mapped_ = mapped(*files_).value();
    store_ = ObjectStore::open(mapped_, ObjectFormat::sha1).value();
    reach_ = Reachability::open(mapped_, *store_).value();
  }
  ObjectNumber number(const std::string& hex) {
    return reach_->number_of(*ObjectId::from_hex(hex)).value();
  }
  std::string commit_of_files() {
    std::string entries;
    for (const char* name : {"a", "b", "c"}) {
      const std::string blob = repository_.git("hash-object -w --stdin", name);
      const std::string tree = repository_.git("mktree", "100644 blob " + blob + "\tfile\n");
      entries += "040000 tree " + tree + "\t" + name + "\n";
    }
    return repository_.git("commit-tree -m files " + repository_.git("mktree", entries));
  }

  ScratchRepository repository_;
  std::shared_ptr<const RepositoryFiles> files_;
  std::vector<MappedRepositoryFile> mapped_;
  std::unique_ptr<ObjectStore> store_;
  std::unique_ptr<Reachability> reach_;
};

TEST_F(PlanBoundsTest, trees_are_counted_anew_for_each_plan) {
  const std::string commit = commit_of_files();
  look();
  const std::vector<ObjectNumber> tips{number(commit)};
  WalkLimits limits{.trees_max = 4, .expired = {}};
  for (int plan = 0; plan < 3; ++plan) {
    reach_->begin_plan();
    EXPECT_TRUE(reach_->closure(tips, limits).has_value()) << plan;
  }
  reach_->begin_plan();
  limits.trees_max = 3;
  const auto beyond = reach_->closure(tips, limits);
  ASSERT_FALSE(beyond.has_value());
  EXPECT_EQ(beyond.error().code, io::Errc::limit);
}

TEST_F(PlanBoundsTest, tags_of_tags_are_followed_for_a_while) {
  std::string stream = "commit refs/heads/main\ncommitter a <a@b> 1 +0000\ndata 0\n\n";
  repository_.git("fast-import --quiet", stream);
  const std::string target = repository_.git("rev-parse main");
  stream.clear();
  for (unsigned i = 0; i <= kTagsPeeledMax; ++i) {
    stream += "tag t" + std::to_string(i) + "\nmark :" + std::to_string(i + 1) + "\nfrom " +
              (i == 0 ? target : ":" + std::to_string(i)) + "\ntagger a <a@b> 1 +0000\ndata 0\n\n";
  }
  repository_.git("fast-import --quiet", stream);
  look();
  const auto tag = [&](unsigned i) {
    return number(repository_.git("rev-parse t" + std::to_string(i)));
  };
  EXPECT_EQ(reach_->peel(tag(kTagsPeeledMax - 1)).value(), number(target));
  EXPECT_EQ(reach_->peel(tag(kTagsPeeledMax)).error().code, io::Errc::limit);
}

TEST_F(PlanBoundsTest, a_layout_ends_with_the_time_of_its_plan) {
  const std::string commit = commit_of_files();  // loose: deflated anew
  look();
  const ObjectSet objects = reach_->closure(std::vector{number(commit)}, {}).value();
  ReencodeStore reencoded;
  int looks = 0;
  LayoutOptions options;
  options.expired = [&looks] { return ++looks == 3; };
  const auto cut = PackLayout(*store_, reencoded, options).make(objects);
  ASSERT_FALSE(cut.has_value());
  EXPECT_EQ(cut.error().code, io::Errc::limit);
  EXPECT_TRUE(PackLayout(*store_, reencoded, options).make(objects).has_value());
}

TEST_F(PlanBoundsTest, many_tips_are_looked_at_within_the_time_of_a_plan) {
  const std::string commit = commit_of_files();
  look();
  const std::vector<ObjectNumber> tips(1000, number(commit));
  const WalkLimits limits{.expired = [] { return true; }};
  EXPECT_EQ(VisibleCommits::start(*store_, *reach_, tips, limits).error().code, io::Errc::limit);
  EXPECT_EQ(reach_->closure(tips, limits).error().code, io::Errc::limit);
}

}  // namespace
}  // namespace weir::git
