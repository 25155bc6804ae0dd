#include "git/repository_layout.h"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

namespace fs = std::filesystem;

RepositoryLayout look(const ScratchRepository& repository, std::int64_t later_s = 0) {
  auto layout = read_repository_layout(*repository.repository(), std::time(nullptr) + later_s);
  EXPECT_TRUE(layout.has_value());
  return layout ? *layout : RepositoryLayout{};
}

// A chain of commits on main, each with a file of its own.
void commit(const ScratchRepository& repository, int commits, const std::string& what) {
  std::string stream = "blob\nmark :1\ndata 1\nx\n";
  for (int i = 0; i < commits; ++i) {
    const std::string text = what + std::to_string(i);
    stream += "commit refs/heads/main\ncommitter a <a@b> 1700000000 +0000\ndata 1\nm\n";
    if (i == 0 && !repository.run("git -C " + repository.path() + " for-each-ref").empty()) {
      stream += "from refs/heads/main^0\n";
    }
    stream +=
        "M 100644 inline " + text + "\ndata " + std::to_string(text.size()) + "\n" + text + "\n";
  }
  repository.git("-c fastimport.unpackLimit=0 fast-import --quiet", stream);
}

void note(const ScratchRepository& repository, const std::string& branch) {
  ASSERT_TRUE(write_core_note(*repository.repository(), look(repository).largest_pack, branch));
}

class EachFormat : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(RepositoryLayout, EachFormat, testing::Values("sha1", "sha256"));

TEST_P(EachFormat, counts_what_git_counts) {
  const ScratchRepository repository(std::string("--object-format=") + GetParam());
  commit(repository, 20, "a");
  commit(repository, 5, "b");
  repository.git("hash-object -w --stdin", "loose");
  const RepositoryLayout layout = look(repository);
  const std::string counted = repository.git("count-objects -v");
  const auto has = [&](const std::string& line) {
    EXPECT_NE(counted.find(line + "\n"), counted.npos) << line << " is not in:\n" << counted;
  };
  has("count: " + std::to_string(layout.loose_objects));
  has("in-pack: " + std::to_string(layout.packed_objects));
  has("packs: " + std::to_string(layout.packs));
  EXPECT_EQ(layout.packs, 2U);
  EXPECT_EQ(layout.recent_packs, 2U);
  EXPECT_EQ(layout.bitmap, BitmapKind::none);
  EXPECT_EQ(layout.loose_refs, 1U);
  EXPECT_EQ(layout.head_branch, "refs/heads/main");
  EXPECT_FALSE(layout.commit_graph);
}

TEST_P(EachFormat, knows_which_packs_a_bitmap_covers) {
  const ScratchRepository repository(std::string("--object-format=") + GetParam());
  commit(repository, 20, "a");
  repository.git("repack -q -adb");
  commit(repository, 5, "b");
  const RepositoryLayout one = look(repository);
  EXPECT_EQ(one.bitmap, BitmapKind::pack);
  EXPECT_EQ(one.recent_packs, 1U);
  EXPECT_LT(one.bitmapped_objects, one.packed_objects);

  repository.git("multi-pack-index write --bitmap");
  const RepositoryLayout all = look(repository);
  EXPECT_EQ(all.bitmap, BitmapKind::multi_pack);
  EXPECT_EQ(all.recent_packs, 0U);
  EXPECT_EQ(all.bitmapped_objects, all.packed_objects);
}

TEST(RepositoryLayout, knows_the_core_pack_only_while_it_is_there_and_for_whom_it_was_made) {
  const ScratchRepository repository;
  commit(repository, 20, "a");
  EXPECT_FALSE(look(repository).core_present);
  note(repository, "refs/heads/main");
  RepositoryLayout layout = look(repository, 1'000);
  EXPECT_TRUE(layout.core_present && layout.core_branch_is_head);
  EXPECT_EQ(layout.core_objects, layout.packed_objects);
  EXPECT_GE(layout.core_age_s, 999);

  repository.git("symbolic-ref HEAD refs/heads/other");
  EXPECT_FALSE(look(repository).core_branch_is_head);
  commit(repository, 1, "b");
  repository.git("repack -q -ad");
  EXPECT_FALSE(look(repository).core_present) << "its pack is gone";
}

TEST(RepositoryLayout, takes_any_note_for_none) {
  const ScratchRepository repository;
  commit(repository, 3, "a");
  for (const std::string& text : {std::string(), std::string("\n"), std::string("pack-"),
                                  std::string("../../x\nrefs/heads/main\n"),
                                  std::string(100'000, 'a'), std::string(10, '\0')}) {
    std::ofstream(repository.path() + "/objects/info/weir-core") << text;
    EXPECT_FALSE(look(repository).core_present) << text.substr(0, 20);
  }
}

TEST(RepositoryLayout, counts_what_no_ref_reaches_apart) {
  const ScratchRepository repository;
  commit(repository, 20, "a");
  repository.git("hash-object -w --stdin", "nobody's");
  repository.git("repack -q -d --cruft");
  const RepositoryLayout layout = look(repository, 500);
  EXPECT_EQ(layout.packs, 1U);
  EXPECT_GE(layout.cruft_objects, 1U);
  EXPECT_GE(layout.cruft_age_s, 499);
  EXPECT_EQ(layout.loose_objects, 0U);
}

TEST(RepositoryLayout, sees_what_stands_against_a_bitmap) {
  const ScratchRepository repository;
  EXPECT_FALSE(look(repository).borrows);
  std::ofstream(repository.path() + "/objects/info/alternates") << "../../b.git/objects\n";
  std::ofstream(repository.path() + "/shallow") << "";
  std::ofstream(repository.path() + "/objects/pack/tmp_pack_abc") << "half";
  const RepositoryLayout layout = look(repository);
  EXPECT_TRUE(layout.borrows);
  EXPECT_TRUE(layout.shallow);
  EXPECT_EQ(layout.temporary_files, std::vector<std::string>{"tmp_pack_abc"});
  EXPECT_EQ(borrowed_folders(repository.path()),
            std::vector<std::string>{repository.folder() + "/b.git/objects"});
}

TEST(RepositoryLayout, knows_whether_the_commit_graph_is_behind) {
  const ScratchRepository repository;
  commit(repository, 5, "a");
  repository.git("commit-graph write --reachable --split");
  EXPECT_TRUE(look(repository).commit_graph);
  EXPECT_FALSE(look(repository).commit_graph_behind);
  commit(repository, 5, "b");
  EXPECT_TRUE(look(repository).commit_graph_behind);
}

TEST(RepositoryLayout, is_an_error_where_there_is_no_repository) {
  Repository nowhere;
  nowhere.git_dir = nowhere.common_dir = "/nonexistent";
  EXPECT_FALSE(read_repository_layout(nowhere, 0).has_value());
}

}  // namespace
}  // namespace weir::git
