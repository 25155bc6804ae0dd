// What a planner answers, judged by real git: each pack is indexed strictly and holds what
// `git rev-list --objects` says. The long run over random repositories is tests/e2e/plan_oracle.py.

#include "git/repository_view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "git/repository_files.h"
#include "tests/git/recipe_pack.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

using Names = std::set<std::string>;

Names names_in(const std::string& text) {  // the first word of each line
  Names names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    names.insert(line.substr(0, line.find(' ')));
  }
  return names;
}

// Branches that part, files that change, a tag of a tag.
struct History : ScratchRepository {
  History() {
    const std::string work = folder() + "/work";
    run("mkdir " + work + " && cd " + work +
        " && git init -q -b main && for i in $(seq 1 30); do seq $i $((i * 30)) > a; "
        "seq 1 $((i + 500)) > b; mkdir -p d/e; echo $i > d/e/c$((i % 7)); git add -A; "
        "git commit -qm \"change $i\"; done && git tag light && git tag -a -m t v1 && "
        "git -c advice.nestedTag=false tag -a -m t vv1 v1 && git checkout -q -b side HEAD~25 && "
        "seq 1 900 > b && git commit -qam side && git checkout -q main && git push -q --mirror " +
        path());
  }
};

class RepositoryViewTest : public testing::Test {
 protected:
  RepositoryViewTest() {
    repository_.run("rm -rf " + repository_.path() + " && cp -a " + history().folder() + "/a.git " +
                    history().folder() + "/work " + repository_.folder());
  }
  static const ScratchRepository& history() {
    static const History made;
    return made;
  }
  std::string work() const { return repository_.folder() + "/work"; }

  void look() {
    const io::Result<std::shared_ptr<const RepositoryFiles>> files =
        RepositoryFiles::open(*repository_.repository(), ObjectFormat::sha1, nullptr, roots_);
    ASSERT_TRUE(files.has_value());
    files_ = *files;
    io::Result<std::unique_ptr<RepositoryView>> view = view_of(*files_, ObjectFormat::sha1);
    ASSERT_TRUE(view.has_value());
    view_ = std::move(*view);
    visible_ = {.digest = "all", .tips = {}, .tags = {}};
    for (const std::string& name :
         names_in(repository_.git("for-each-ref --format='%(objectname) x'"))) {
      visible_.tips.push_back(*ObjectId::from_hex(name));
    }
    for (const char* tag : {"v1", "vv1"}) {
      visible_.tags.emplace_back(id(tag), id(std::string(tag) + "^{}"));
    }
  }
  ObjectId id(const std::string& name) const {
    return *ObjectId::from_hex(repository_.git("rev-parse " + name));
  }
  PlanReply ask(const PlanRequest& request) { return view_->plan(request, visible_); }

  // What a client that has `have` makes of a pack; true if it has all of `want` then.
  bool completes(const PlanReply& reply, const std::string& have, const std::string& want,
                 const std::string& fix) {
    EXPECT_EQ(reply.status, PlanStatus::planned) << reply.problem;
    if (reply.status != PlanStatus::planned) return false;
    const std::string client = repository_.folder() + "/client.git";
    repository_.run("rm -rf " + client + "; git init -q --bare " + client);
    repository_.git("push -q " + client + " " + have + ":refs/heads/has");
    repository_.run("git -C " + client + " index-pack --stdin " + fix,
                    pack_of(reply.recipe, *files_));
    repository_.run("git -C " + client + " update-ref refs/heads/got " + id(want).to_hex());
    repository_.run("git -C " + client + " fsck --strict 2>&1");
    const Names got = names_in(repository_.run("git -C " + client + " rev-list --objects got"));
    return got == reached(want);
  }
  std::string large_text() const {
    std::mt19937 random(1);
    std::string text;
    while (text.size() < 200'000) text += std::to_string(random()) + "\n";
    return text;
  }
  // Commits `count` versions of a file that no deflate makes small, each with one line more.
  void grow_a_large_file(unsigned count) {
    std::string large = large_text(), stream;
    const auto line = [&stream](const std::string& text) { stream += text + "\n"; };
    for (unsigned i = 1; i <= count; ++i) {
      large += std::to_string(i) + "\n";
      line("commit refs/heads/main");
      line("committer a <a@b> 1700000100 +0000");
      line("data 0");
      if (i == 1) line("from refs/heads/main^0");
      line("M 100644 inline large");
      line("data " + std::to_string(large.size()));
      line(large);
    }
    repository_.git("fast-import --quiet", stream);
  }

  // The objects of a planned pack. `check`: --strict where it must be closed, too.
  Names objects_of(const PlanReply& reply, const std::string& check = "--fsck-objects") {
    EXPECT_EQ(reply.status, PlanStatus::planned) << reply.problem;
    if (reply.status != PlanStatus::planned) return {};
    const std::string other = repository_.folder() + "/other.git";
    repository_.run("rm -rf " + other + "; git init -q --bare " + other);
    repository_.run("git -C " + other + " index-pack --stdin " + check,
                    pack_of(reply.recipe, *files_));
    return names_in(
        repository_.run("git -C " + other + " cat-file --batch-all-objects --batch-check"));
  }
  Names reached(const std::string& revisions) const {
    return names_in(repository_.git("rev-list --objects " + revisions));
  }
  // Nothing less, and nothing more but blobs that may be seen anyway.
  void expect_objects(const PlanReply& reply, const Names& wanted,
                      const std::string& check = "--strict") {
    const Names got = objects_of(reply, check);
    EXPECT_TRUE(std::ranges::includes(got, wanted));
    const Names all = reached("--all");
    std::size_t extra = 0;
    for (const std::string& name : got) {
      if (wanted.contains(name)) continue;
      ++extra;
      EXPECT_TRUE(all.contains(name)) << name;
      EXPECT_EQ(repository_.git("cat-file -t " + name), "blob");
    }
    EXPECT_EQ(extra, reply.recipe.counts().extra);
  }

  ScratchRepository repository_;
  const std::vector<std::string> roots_{"/"};
  std::shared_ptr<const RepositoryFiles> files_;
  std::unique_ptr<RepositoryView> view_;
  VisibleTips visible_;
};

TEST_F(RepositoryViewTest, sends_a_pack_that_is_the_answer_as_it_is) {
  repository_.git("repack -adfq");
  look();
  PlanRequest request{.wants = visible_.tips};
  request.ofs_delta = true;
  const PlanReply reply = ask(request);
  expect_objects(reply, reached("--all"));
  EXPECT_EQ(reply.recipe.pieces(), 1U);
  EXPECT_TRUE(reply.recipe.trailer().has_value());
  EXPECT_EQ(reply.recipe.counts().pack_reused(), reply.recipe.counts().objects);
}

TEST_F(RepositoryViewTest, names_bases_for_clients_that_take_no_distances) {
  repository_.git("repack -adfq");
  look();
  expect_objects(ask({.wants = visible_.tips}), reached("--all"));
}

TEST_F(RepositoryViewTest, sends_one_branch_with_and_without_a_bitmap) {
  for (const char* repack : {"repack -adfq --no-write-bitmap-index", "repack -adfqb"}) {
    repository_.git(repack);
    look();
    PlanRequest request{.wants = {id("side")}};
    request.ofs_delta = true;
    expect_objects(ask(request), reached("side"));
  }
}

TEST_F(RepositoryViewTest, sends_loose_objects) {
  repository_.run("cd " + repository_.path() +
                  " && mv objects/pack/*.pack . 2>/dev/null; "
                  "rm -f objects/pack/*; for p in *.pack; do [ -f $p ] && "
                  "git unpack-objects -q < $p; rm -f $p; done");
  look();
  expect_objects(ask({.wants = {id("main")}}), reached("main"));
}

TEST_F(RepositoryViewTest, tells_how_far_a_shallow_clone_goes) {
  repository_.git("repack -adfqb");
  look();
  PlanRequest request{.wants = {id("main")}};
  request.depth = 3;
  const PlanReply reply = ask(request);
  const Names got = objects_of(reply);
  EXPECT_EQ(reply.shallow, std::vector<ObjectId>{id("main~2")});
  EXPECT_TRUE(got.contains(id("main~2").to_hex()));
  EXPECT_FALSE(got.contains(id("main~3").to_hex()));
}

TEST_F(RepositoryViewTest, deepens_a_shallow_clone_by_what_it_lacks) {
  look();
  PlanRequest request{.wants = {id("main")}, .haves = {id("main")}, .shallows = {id("main")}};
  request.depth = 3;
  const PlanReply reply = ask(request);
  EXPECT_EQ(reply.shallow, std::vector<ObjectId>{id("main~2")});
  EXPECT_EQ(reply.unshallow, std::vector<ObjectId>{id("main")});
  const Names got = objects_of(reply);
  EXPECT_TRUE(got.contains(id("main~1").to_hex()));
  EXPECT_TRUE(got.contains(id("main~2").to_hex()));
  EXPECT_FALSE(got.contains(id("main").to_hex()));
  EXPECT_FALSE(got.contains(id("main~3").to_hex()));
}

TEST_F(RepositoryViewTest, moves_a_shallow_clone_on_by_what_changed) {
  grow_a_large_file(2);
  repository_.git("repack -adfqb");
  look();
  PlanRequest request{.wants = {id("main")}, .haves = {id("main~1")}, .shallows = {id("main~1")}};
  request.depth = 1;
  const PlanReply reply = ask(request);
  EXPECT_EQ(reply.shallow, std::vector<ObjectId>{id("main")});
  EXPECT_EQ(reply.recipe.counts().objects, 3U);  // the commit, its tree, the file
  EXPECT_GT(reply.recipe.pack_bytes(), 50'000U);
  request.thin_pack = true;
  EXPECT_LT(ask(request).recipe.pack_bytes(), 1000U);
}

TEST_F(RepositoryViewTest, sends_what_a_client_lacks) {
  for (const char* repack : {"repack -dq", "repack -adfqb"}) {
    repository_.git(repack);
    look();
    PlanRequest request{.wants = {id("main")}, .haves = {id("main~5")}};
    const PlanReply reply = ask(request);
    EXPECT_EQ(reply.common, std::vector<ObjectId>{id("main~5")});
    EXPECT_TRUE(reply.ready);
    expect_objects(reply, reached("main --not main~5"), "--fsck-objects");
  }
}

TEST_F(RepositoryViewTest, completes_a_client_by_thin_packs_and_by_others_at_each_level) {
  grow_a_large_file(3);
  for (const char* repack : {"repack -dq", "repack -adfqb --depth=2"}) {
    repository_.git(repack);
    look();
    for (unsigned how = 0; how < 6; ++how) {
      PlanRequest request{.wants = {id("main")}, .haves = {id("main~9")}};
      request.thin_pack = (how & 1) != 0;
      request.ofs_delta = (how & 2) != 0;
      if (how >= 4) request.level = PlanLevel::cheapest;
      const char* const fix = request.thin_pack ? "--fix-thin" : "";
      EXPECT_TRUE(completes(ask(request), "main~9", "main", fix)) << repack << how;
    }
  }
}

TEST_F(RepositoryViewTest, sends_a_new_version_as_a_delta_of_what_the_client_has) {
  grow_a_large_file(2);
  repository_.git("repack -adfqb");  // stores the newest version whole
  look();
  PlanRequest request{.wants = {id("main")}, .haves = {id("main~1")}};
  request.thin_pack = true;
  const PlanReply small = ask(request);
  EXPECT_LT(small.recipe.pack_bytes(), 1000U);
  EXPECT_TRUE(completes(small, "main~1", "main", "--fix-thin"));
  EXPECT_EQ(pack_of(ask(request).recipe, *files_), pack_of(small.recipe, *files_));
  request.level = PlanLevel::cheapest;
  EXPECT_GT(ask(request).recipe.pack_bytes(), 50'000U);
  request.level = PlanLevel::best;
  request.thin_pack = false;
  EXPECT_GT(ask(request).recipe.pack_bytes(), 50'000U);
}

TEST_F(RepositoryViewTest, sends_versions_of_a_file_as_a_chain_of_bounded_length) {
  grow_a_large_file(70);
  repository_.run("cd " + repository_.path() +
                  " && mv objects/pack/*.pack . 2>/dev/null; rm -f objects/pack/*; "
                  "for p in *.pack; do [ -f $p ] && git unpack-objects -q < $p; rm -f $p; done");
  look();
  PlanRequest request{.wants = {id("main")}, .haves = {id("main~71")}};
  const PlanReply reply = ask(request);
  EXPECT_TRUE(completes(reply, "main~71", "main", ""));
  EXPECT_LT(reply.recipe.pack_bytes(), 1'000'000U);
  const std::string chains = repository_.run(
      "cd " + repository_.folder() +
      "/client.git/objects/pack && for i in *.idx; do git verify-pack -v $i; done | awk "
      "'/^[0-9a-f]+ blob/ && NF > 6 { if ($6 > deepest) deepest = $6 } END { print deepest }'");
  EXPECT_GT(std::stoul(chains), 10U);
  EXPECT_LE(std::stoul(chains), 50U);
}

TEST_F(RepositoryViewTest, makes_no_circle_of_a_searched_delta_and_an_extra_base) {
  // Stored: "new" whole, "old" upon it, "newest" upon "old". The client had "old" once only, so it
  // is no base that counts; then "new" upon "newest" is a find, and "old" as an extra base of
  // "newest" would close the circle.
  const std::string text = large_text();
  std::string stream;
  const auto blob = [&stream](const std::string& content) {
    stream += "blob\nmark :" + std::string(1, content.back()) + "\ndata " +
              std::to_string(content.size()) + "\n" + content + "\n";
  };
  const auto commit = [&stream](const std::string& change, const std::string& from = "") {
    stream += "commit refs/heads/main\ncommitter a <a@b> 1700000100 +0000\ndata 0\n" + from +
              change + "\n";
  };
  blob(text + "1");
  blob(text + "2");
  blob(text + "3");
  commit("M 100644 :2 f", "from refs/heads/main^0\n");
  commit("D f");
  commit("M 100644 :1 f");
  commit("M 100644 :3 f");
  repository_.git("-c fastimport.unpackLimit=1 fast-import --quiet", stream);
  look();
  ASSERT_EQ(ask({.wants = visible_.tips}).status, PlanStatus::planned);  // tells what may be seen
  const PlanReply reply = ask({.wants = {id("main")}, .haves = {id("main~2")}});
  EXPECT_EQ(reply.recipe.counts().extra, 0U);
  EXPECT_TRUE(completes(reply, "main~2", "main", ""));
}

TEST_F(RepositoryViewTest, asks_for_more_haves_until_they_say_enough) {
  look();
  PlanRequest request{.wants = {id("main")}, .haves = {id("side")}};
  request.done = false;
  const PlanReply reply = ask(request);
  EXPECT_EQ(reply.status, PlanStatus::planned);  // side left main, so main reaches its root
  request.haves = {ObjectId::from_hex(std::string(40, '1')).value()};
  const PlanReply unknown = ask(request);
  EXPECT_EQ(unknown.status, PlanStatus::negotiating);
  EXPECT_TRUE(unknown.common.empty());
}

TEST_F(RepositoryViewTest, does_not_take_a_hidden_commit_for_common) {
  repository_.run("cd " + work() +
                  " && git checkout -q --orphan secret && seq 1 5000 > s && "
                  "git add -A && git commit -qm secret && git push -q " +
                  repository_.path() + " secret");
  look();
  const ObjectId secret = id("secret");
  std::erase(visible_.tips, secret);
  const PlanReply reply = ask({.wants = {id("main")}, .haves = {secret}});
  EXPECT_TRUE(reply.common.empty());
  expect_objects(reply, reached("main"));
}

TEST_F(RepositoryViewTest, never_takes_a_hidden_blob_as_a_base) {
  // The hidden branch has the larger version, which git stores whole, and deltas against it.
  repository_.run("cd " + work() +
                  " && git checkout -q -b secret && seq 1 9000 > b && "
                  "git commit -qam secret && git push -q " +
                  repository_.path() + " secret");
  repository_.git("repack -adfqb --depth=50 --window=50");
  look();
  const ObjectId secret = id("secret");
  const Names hidden = reached("secret --not main side");
  std::erase(visible_.tips, secret);
  PlanRequest request{.wants = visible_.tips};
  request.ofs_delta = true;
  const Names got = objects_of(ask(request));
  for (const std::string& name : hidden) EXPECT_FALSE(got.contains(name)) << name;
}

TEST_F(RepositoryViewTest, sends_what_a_multi_pack_index_covers_and_what_came_after_it) {
  repository_.git("config receive.unpackLimit 1");
  const auto push = [this](const char* name) {
    repository_.run("cd " + work() +
                    " && git checkout -q main && for i in 1 2 3; do seq $i 950 > a; " + "echo " +
                    name + " >> a; git commit -qam " + name + "; done && git push -q " +
                    repository_.path() + " main");
  };
  repository_.git("repack -adfq");
  push("rolled_up");
  push("too");
  repository_.git("repack -q -d --geometric=2 --write-midx --write-bitmap-index");
  for (int pushes = 0; pushes < 3; ++pushes) {
    look();
    PlanRequest request{.wants = visible_.tips};
    request.ofs_delta = true;
    const PlanReply all = ask(request);
    expect_objects(all, reached("--all"));
    EXPECT_EQ(all.recipe.counts().reencoded, 0U) << pushes;  // bases come before their deltas
    request.wants = {id("main")};
    expect_objects(ask(request), reached("main"));
    request.haves = {id("main~4")};
    expect_objects(ask(request), reached("main --not main~4"), "--fsck-objects");
    push("later");  // thin, so it brings bases that are covered
  }
}

TEST_F(RepositoryViewTest, sends_what_is_borrowed_from_an_alternate_with_a_bitmap) {
  const std::string pool = repository_.folder() + "/pool.git";
  for (const char* layout : {"repack -adbq", "multi-pack-index write --bitmap"}) {
    repository_.run("rm -rf " + pool + " && cp -a " + repository_.path() + " " + pool);
    repository_.run("git -C " + pool + " repack -adq && git -C " + pool + " " + layout);
    repository_.run("rm -f " + repository_.path() + "/objects/pack/*");
    repository_.write("objects/info/alternates", "../../pool.git/objects\n");
    repository_.run("cd " + work() + " && echo own >> b && git commit -qam own && git push -q " +
                    repository_.path() + " main");
    look();
    PlanRequest request{.wants = visible_.tips};
    expect_objects(ask(request), reached("--all"));
    request.wants = {id("side")};
    expect_objects(ask(request), reached("side"));
    repository_.git("repack -adq");  // all its own again, for the next round
    repository_.run("rm " + repository_.path() + "/objects/info/alternates");
  }
}

TEST_F(RepositoryViewTest, follows_refs_that_move_and_forgets_those_that_go) {
  repository_.run("cd " + work() +
                  " && git checkout -q -b topic && seq 1 9100 > b && git commit "
                  "-qam topic && git push -q " +
                  repository_.path() + " topic");
  repository_.git("repack -adfq --no-write-bitmap-index --depth=50 --window=50");
  look();
  const VisibleTips all = visible_;
  const auto everything = [this] { return PlanRequest{.wants = visible_.tips}; };
  visible_.digest = "before";
  std::ranges::replace(visible_.tips, id("main"), id("main~3"));
  expect_objects(ask(everything()), reached("main~3 side topic v1 vv1"));
  visible_ = all;
  visible_.digest = "moved on";
  expect_objects(ask(everything()), reached("--all"));
  visible_.digest = "topic deleted";
  std::erase(visible_.tips, id("topic"));
  EXPECT_EQ(objects_of(ask(everything())), reached("main side v1 vv1"));
}

TEST_F(RepositoryViewTest, sends_tags_along_with_what_they_point_at) {
  look();
  PlanRequest request{.wants = {id("main")}};
  request.include_tag = true;
  const Names got = objects_of(ask(request));
  EXPECT_TRUE(got.contains(id("v1").to_hex()));
  EXPECT_TRUE(got.contains(id("vv1").to_hex()));
}

TEST_F(RepositoryViewTest, leaves_out_what_a_filter_says) {
  repository_.git("repack -adfqb");
  look();
  PlanRequest request{.wants = {id("main")}};
  request.filter.no_blobs = true;
  EXPECT_EQ(objects_of(ask(request)), reached("main --filter=blob:none"));
  request.filter = {};
  request.filter.blob_bytes_limit = 1000;
  EXPECT_EQ(objects_of(ask(request)), reached("main --filter=blob:limit=1000"));
  request.filter = {};
  request.filter.tree_depth_limit = 0;
  EXPECT_EQ(objects_of(ask(request)), reached("main --filter=tree:0"));
}

TEST_F(RepositoryViewTest, says_when_an_object_is_missing_and_when_git_must_answer) {
  look();
  const ObjectId unknown = ObjectId::from_hex(std::string(40, '1')).value();
  EXPECT_EQ(ask({.wants = {unknown}}).status, PlanStatus::missing);
  PlanRequest request{.wants = {id("main")}};
  request.filter.tree_depth_limit = 2;
  EXPECT_EQ(ask(request).reason, FallbackReason::filter);
}

}  // namespace
}  // namespace weir::git
