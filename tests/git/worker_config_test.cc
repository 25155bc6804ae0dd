#include "git/worker_config.h"

#include <git2.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

class WorkerConfigTest : public testing::Test {
 protected:
  WorkerConfigTest() { git_libgit2_init(); }
  ~WorkerConfigTest() override { git_libgit2_shutdown(); }

  io::Result<RepositoryConfig> read() {
    problem_.clear();
    const GitRunner git("/usr/bin/git", scratch_.path(),
                        std::chrono::steady_clock::now() + std::chrono::seconds(20));
    return read_repository_config(scratch_.repository()->git_dir, scratch_.repository()->common_dir,
                                  git, problem_);
  }
  bool read_from(const RepositoryConfig& config, const std::string& file) const {
    return std::ranges::find(config.files, scratch_.path() + "/" + file) != config.files.end();
  }
  ScratchRepository scratch_;
  std::string problem_;
};

TEST_F(WorkerConfigTest, has_defaults_that_serve) {
  const auto config = read();
  ASSERT_TRUE(config) << problem_;
  EXPECT_TRUE(config->bare && config->http_upload_pack && config->http_receive_pack &&
              config->allow_filter && config->advertise_atomic && config->advertise_push_options &&
              config->prefer_ofs_delta);
  EXPECT_FALSE(config->sha256 || config->reftable || config->allow_any_sha1_in_want ||
               config->has_alternates);
  EXPECT_TRUE(read_from(*config, "config"));
  EXPECT_TRUE(read_from(*config, "objects/info/alternates"));
}

TEST_F(WorkerConfigTest, keeps_hidden_refs_in_file_order_for_each_service) {
  scratch_.git("config --add uploadpack.hideRefs refs/a");
  scratch_.git("config --add transfer.hideRefs refs/b");
  scratch_.git("config --add uploadpack.hideRefs '!refs/b/c'");
  scratch_.git("config --add receive.hideRefs refs/d");
  const auto config = read();
  ASSERT_TRUE(config);
  // git config groups sections: what counts is the order in the file.
  std::vector<std::string> fetch = {"refs/a", "!refs/b/c", "refs/b"};
  EXPECT_EQ(config->hide_refs_fetch, fetch);
  EXPECT_EQ(config->hide_refs_push, (std::vector<std::string>{"refs/b", "refs/d"}));
}

TEST_F(WorkerConfigTest, reads_booleans_as_git_does) {
  scratch_.write("config",
                 "[core]\n bare\n[uploadPack]\n allowFilter = off\n allowAnySha1InWant = 1\n"
                 "[receive]\n advertiseAtomic = no\n advertisePushOptions = 0\n"
                 "[http]\n receivepack = false\n uploadpack = false\n uploadpack = yes\n"
                 "[repack]\n useDeltaBaseOffset = false\n");
  const auto config = read();
  ASSERT_TRUE(config) << problem_;
  EXPECT_TRUE(config->bare && config->allow_any_sha1_in_want && config->http_upload_pack);
  EXPECT_FALSE(config->allow_filter || config->advertise_atomic || config->advertise_push_options ||
               config->http_receive_pack || config->prefer_ofs_delta);
}

TEST_F(WorkerConfigTest, follows_includes_and_says_which_files_it_read) {
  scratch_.git("config include.path more/first");
  scratch_.write("more/first", "[include]\n path = second\n path = missing\n");
  scratch_.write("more/second", "[transfer]\n hideRefs = refs/secret\n");
  const auto config = read();
  ASSERT_TRUE(config) << problem_;
  EXPECT_EQ(config->hide_refs_fetch, (std::vector<std::string>{"refs/secret"}));
  for (const char* file : {"config", "more/first", "more/second", "more/missing"}) {
    EXPECT_TRUE(read_from(*config, file)) << file;
  }
}

TEST_F(WorkerConfigTest, lets_git_decide_conditional_includes) {
  scratch_.git("config includeIf.gitdir:" + scratch_.path() + ".path hidden");
  scratch_.git("config includeIf.gitdir:/elsewhere/.path never");
  scratch_.write("hidden", "[transfer]\n hideRefs = refs/secret\n");
  scratch_.write("never", "[transfer]\n hideRefs = refs/never\n");
  const auto config = read();
  ASSERT_TRUE(config) << problem_;
  EXPECT_EQ(config->hide_refs_fetch, (std::vector<std::string>{"refs/secret"}));
  EXPECT_TRUE(read_from(*config, "hidden"));
}

TEST_F(WorkerConfigTest, knows_hash_and_ref_storage_in_format_version_1_only) {
  scratch_.write("config",
                 "[core]\n repositoryformatversion = 1\n[extensions]\n"
                 " objectFormat = sha256\n refStorage = reftable\n");
  auto config = read();
  ASSERT_TRUE(config);
  EXPECT_TRUE(config->sha256 && config->reftable);
  scratch_.write("config",
                 "[core]\n repositoryformatversion = 0\n[extensions]\n"
                 " objectFormat = sha256\n refStorage = reftable\n");
  config = read();
  ASSERT_TRUE(config);
  EXPECT_FALSE(config->sha256 || config->reftable);
}

TEST_F(WorkerConfigTest, notices_alternates_and_the_worktree_configuration) {
  scratch_.write("objects/info/alternates", "/tmp\n");
  scratch_.git("config extensions.worktreeConfig true");
  scratch_.write("config.worktree", "[transfer]\n hideRefs = refs/own\n");
  const auto config = read();
  ASSERT_TRUE(config);
  EXPECT_TRUE(config->has_alternates);
  EXPECT_EQ(config->hide_refs_push, (std::vector<std::string>{"refs/own"}));
}

TEST_F(WorkerConfigTest, refuses_malformed_files_with_a_text) {
  for (const char* content : {"[core", "=\n", "[]\n", "[a b]\n", "[core]\n bare = \\q\n"}) {
    scratch_.write("config", content);
    const auto config = read();
    ASSERT_FALSE(config) << content;
    EXPECT_EQ(config.error().code, io::Errc::corrupt);
    EXPECT_NE(problem_.find("configuration"), std::string::npos);
  }
  scratch_.run("rm " + scratch_.path() + "/config");
  EXPECT_TRUE(read());
}

}  // namespace
}  // namespace weir::git
