#include "git/worker_repository.h"

#include <gtest/gtest.h>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

ObjectId id(const std::string& hex) {
  return *ObjectId::from_hex(hex);
}

TEST(ParseTag, reads_object_and_type) {
  const std::string hex(40, 'a');
  ObjectFacts facts;
  ASSERT_TRUE(parse_tag("object " + hex + "\ntype commit\ntag v1\n", ObjectFormat::sha1, facts));
  EXPECT_EQ(facts.target, id(hex));
  EXPECT_EQ(facts.target_kind, ObjectKind::commit);
}

TEST(ParseTag, refuses_everything_else) {
  const std::string hex(40, 'a');
  ObjectFacts facts;
  for (const std::string& content :
       {std::string(), std::string("object "), "object " + hex, "object " + hex + "\n",
        "object " + hex + "\ntype", "object " + hex + "\ntype commit",
        "Object " + hex + "\ntype commit\n", "object " + hex + "\ntype car\n",
        "object " + hex + "a\ntype commit\n", "object " + hex.substr(1) + "\ntype commit\n",
        "type commit\nobject " + hex + "\n", "object " + hex.substr(1) + "g\ntype commit\n",
        "object " + hex + " \ntype commit\n"}) {
    EXPECT_FALSE(parse_tag(content, ObjectFormat::sha1, facts)) << content;
  }
}

// Both hash formats: sha1 goes through libgit2, sha256 through git.
class WorkerRepositoryTest : public testing::TestWithParam<ObjectFormat> {
 protected:
  WorkerRepositoryTest()
      : scratch_("--object-format=" + std::string(format_name(GetParam()))),
        worker_("/usr/bin/git") {
    scratch_.run("mkdir " + scratch_.folder() + "/w && cd " + scratch_.folder() +
                 "/w && echo one > file");
    first_ = commit("refs/heads/main", "one");
    second_ = commit("refs/heads/main", "two", first_);
    hidden_ = commit("refs/hidden/x", "secret", first_);
  }

  // A commit with one file of that content.
  std::string commit(const std::string& ref, const std::string& content,
                     const std::string& parent = "") {
    const std::string blob = scratch_.git("hash-object -w --stdin", content);
    const std::string tree = scratch_.git("mktree", "100644 blob " + blob + "\tfile\n");
    const std::string made =
        scratch_.git("commit-tree " + tree + " -m x" + (parent.empty() ? "" : " -p " + parent));
    scratch_.git("update-ref " + ref + " " + made);
    return made;
  }
  WorkerRequest request(WorkerOperation operation) {
    WorkerRequest made;
    made.operation = operation;
    made.git_dir = made.common_dir = scratch_.path();
    made.format = GetParam();
    made.time_ms_max = 20'000;
    return made;
  }
  // Whether `want` may be fetched by somebody who sees main (and tags).
  bool allowed(const std::string& want, bool trees_and_blobs = true) {
    WorkerRequest made = request(WorkerOperation::check_wants);
    made.ids = {id(want)};
    made.tips = tips_;
    made.tips_digest = std::to_string(tips_.size());
    made.allow_trees_and_blobs = trees_and_blobs;
    WorkerReply reply = worker_.handle(made);
    if (reply.status == WorkerStatus::need_tips) {
      made.has_tips = true;
      reply = worker_.handle(made);
    }
    EXPECT_EQ(reply.status, WorkerStatus::ok) << reply.problem;
    if (!reply.ids.empty()) EXPECT_EQ(reply.ids.front(), id(want));
    return reply.ids.empty();
  }
  std::string object(const std::string& expression) {
    return scratch_.git("rev-parse '" + expression + "'");
  }

  ScratchRepository scratch_;
  WorkerRepositories worker_;
  std::string first_, second_, hidden_;
  std::vector<ObjectId> tips_;
};

TEST_P(WorkerRepositoryTest, peels_tags_of_tags_and_nothing_else) {
  scratch_.git("tag -a -m x v1 " + first_);
  scratch_.git("tag -a -m x v2 v1 2>/dev/null");
  scratch_.git("tag -a -m x tree " + first_ + "^{tree}");
  WorkerRequest made = request(WorkerOperation::peel);
  made.ids = {id(first_),         id(object("v1")),          id(object("v2")),
              id(object("tree")), id(object("main^{tree}")), id(std::string(first_.size(), 'e'))};
  const WorkerReply reply = worker_.handle(made);
  ASSERT_EQ(reply.status, WorkerStatus::ok) << reply.problem;
  EXPECT_EQ(reply.ids, (std::vector<ObjectId>{
                           {}, id(first_), id(first_), id(object("main~1^{tree}")), {}, {}}));
  // Objects that came after the database was opened are found.
  scratch_.git("tag -a -m later v3 " + second_);
  scratch_.git("repack -adq");
  made.ids = {id(object("v3"))};
  EXPECT_EQ(worker_.handle(made).ids, (std::vector<ObjectId>{id(second_)}));
}

TEST_P(WorkerRepositoryTest, allows_what_visible_refs_reach_and_refuses_the_rest) {
  tips_ = {id(second_)};
  EXPECT_TRUE(allowed(second_));
  EXPECT_TRUE(allowed(first_));
  EXPECT_FALSE(allowed(hidden_));
  EXPECT_FALSE(allowed(std::string(first_.size(), 'e')));
  const std::string loose =
      scratch_.git("commit-tree " + object(second_ + "^{tree}") + " -m loose");
  EXPECT_FALSE(allowed(loose));
}

TEST_P(WorkerRepositoryTest, allows_trees_and_blobs_of_reachable_commits_only_if_told_to) {
  tips_ = {id(second_)};
  for (const bool bitmaps : {false, true}) {
    if (bitmaps) scratch_.git("repack -adbq");
    EXPECT_TRUE(allowed(object(second_ + ":file")));
    EXPECT_TRUE(allowed(object(first_ + ":file")));  // held by an old commit alone
    EXPECT_TRUE(allowed(object(first_ + "^{tree}")));
    EXPECT_FALSE(allowed(object(hidden_ + ":file")));
    EXPECT_FALSE(allowed(object(hidden_ + "^{tree}")));
    EXPECT_FALSE(allowed(object(first_ + ":file"), false));
    worker_.~WorkerRepositories();  // without what the first round cached
    new (&worker_) WorkerRepositories("/usr/bin/git");
  }
}

TEST_P(WorkerRepositoryTest, allows_a_tag_only_as_a_tip_or_nested_in_one) {
  scratch_.git("tag -a -m x inner " + first_);
  scratch_.git("tag -a -m x outer inner 2>/dev/null");
  scratch_.git("tag -a -m x other " + first_);
  const std::string inner = object("inner"), outer = object("outer"), other = object("other");
  tips_ = {id(second_), id(outer)};
  EXPECT_TRUE(allowed(outer));
  EXPECT_TRUE(allowed(inner));
  EXPECT_FALSE(allowed(other));  // its commit is reachable, the tag is not
}

TEST_P(WorkerRepositoryTest, refuses_objects_of_an_alternate) {
  const ScratchRepository other("--object-format=" + std::string(format_name(GetParam())));
  const std::string foreign = other.commit("foreign");
  scratch_.write("objects/info/alternates", other.path() + "/objects\n");
  tips_ = {id(second_)};
  EXPECT_FALSE(allowed(foreign));
  EXPECT_TRUE(allowed(first_));
}

TEST_P(WorkerRepositoryTest, refuses_everything_when_nothing_is_visible) {
  EXPECT_FALSE(allowed(first_));
  EXPECT_FALSE(allowed(object(first_ + "^{tree}")));
}

TEST_P(WorkerRepositoryTest, ends_by_its_deadline) {
  WorkerRequest made = request(WorkerOperation::check_wants);
  made.ids = {id(first_)};
  made.tips = {id(second_)};
  made.has_tips = true;
  made.time_ms_max = 0;
  EXPECT_EQ(worker_.handle(made).status, WorkerStatus::late);
}

TEST_P(WorkerRepositoryTest, lists_refs_through_git) {
  scratch_.git("symbolic-ref refs/remotes/origin/HEAD refs/heads/main");
  WorkerReply reply = worker_.handle(request(WorkerOperation::list_refs));
  ASSERT_EQ(reply.status, WorkerStatus::ok) << reply.problem;
  ASSERT_EQ(reply.refs.refs.size(), 3U);
  EXPECT_EQ(reply.refs.refs[0].name, "refs/heads/main");
  EXPECT_EQ(reply.refs.refs[0].id, id(second_));
  EXPECT_EQ(reply.refs.refs[2].target, "refs/heads/main");
  EXPECT_EQ(reply.refs.head.target, "refs/heads/main");
  scratch_.write("HEAD", first_ + "\n");
  reply = worker_.handle(request(WorkerOperation::list_refs));
  EXPECT_EQ(reply.refs.head.id, id(first_));
}

TEST_P(WorkerRepositoryTest, names_the_git_that_reftable_needs) {
  scratch_.git("config core.repositoryformatversion 1");
  scratch_.git("config extensions.refStorage reftable");
  const WorkerReply reply = worker_.handle(request(WorkerOperation::list_refs));
  if (reply.status == WorkerStatus::ok) GTEST_SKIP() << "this git reads reftable";
  EXPECT_EQ(reply.status, WorkerStatus::unavailable);
  EXPECT_NE(reply.problem.find("git 2.45"), std::string::npos) << reply.problem;
}

INSTANTIATE_TEST_SUITE_P(Formats, WorkerRepositoryTest,
                         testing::Values(ObjectFormat::sha1, ObjectFormat::sha256),
                         [](const auto& param) { return std::string(format_name(param.param)); });

}  // namespace
}  // namespace weir::git
