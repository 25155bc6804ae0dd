#include "git/loose_refs.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

const std::string kA(40, 'a');

TEST(LooseRef, reads_ids_and_symbolic_targets) {
  for (const std::string& text : {kA, kA + "\n", kA + " trailing words\n", kA + "\r\n"}) {
    EXPECT_EQ(parse_loose_ref("refs/x", text, ObjectFormat::sha1).id.to_hex(), kA) << text;
  }
  for (const char* text :
       {"ref: refs/heads/main\n", "ref:refs/heads/main", "ref: \t refs/heads/main  \n"}) {
    EXPECT_EQ(parse_loose_ref("HEAD", text, ObjectFormat::sha1).target, "refs/heads/main") << text;
  }
}

TEST(LooseRef, takes_malformed_files_as_broken) {
  const std::string refused[] = {"",
                                 "\n",
                                 " ",
                                 kA.substr(1),
                                 kA + "a",
                                 kA + "x",
                                 "0x" + kA,
                                 std::string(40, '0'),
                                 "ref:",
                                 "ref: ",
                                 "ref: HEAD",
                                 "ref: refs/heads/a..b",
                                 "ref: refs/heads/a\nrefs/heads/b",
                                 "ref refs/heads/main",
                                 "REF: refs/heads/main",
                                 " " + kA,
                                 "ref: ../../etc/passwd",
                                 std::string(kLooseRefBytesMax + 1, ' '),
                                 kA + std::string(kLooseRefBytesMax, ' '),
                                 std::string(64, 'a')};
  for (const std::string& text : refused) {
    EXPECT_TRUE(parse_loose_ref("refs/x", text, ObjectFormat::sha1).broken()) << text;
  }
}

TEST(LooseRefs, reads_a_tree_of_files_in_order) {
  const ScratchRepository scratch;
  scratch.write("refs/heads/b", kA + "\n");
  scratch.write("refs/heads/a/deep/er", kA + "\n");
  scratch.write("refs/heads/a-b", kA + "\n");
  scratch.write("refs/heads/a.lock", kA + "\n");
  scratch.write("refs/heads/.hidden", kA + "\n");
  scratch.write("refs/heads/bad..name", kA + "\n");
  scratch.write("refs/heads/empty", "");
  scratch.write("refs/remotes/origin/HEAD", "ref: refs/heads/b\n");
  scratch.run("ln -s refs/heads/b " + scratch.path() + "/refs/heads/link; ln -s /etc/passwd " +
              scratch.path() + "/refs/heads/outside; mkfifo " + scratch.path() + "/refs/fifo");
  FileStamps stamps;
  const auto refs = read_loose_refs_blocking(*scratch.repository(), ObjectFormat::sha1, stamps);
  ASSERT_TRUE(refs);
  EXPECT_EQ(refs->head.target, "refs/heads/main");
  std::vector<std::string> names;
  for (const LooseRef& ref : refs->refs) names.push_back(ref.name + (ref.broken() ? "!" : ""));
  EXPECT_EQ(names, (std::vector<std::string>{"refs/fifo!", "refs/heads/a-b", "refs/heads/a/deep/er",
                                             "refs/heads/b", "refs/heads/empty!", "refs/heads/link",
                                             "refs/heads/outside!", "refs/remotes/origin/HEAD"}));
  EXPECT_EQ(refs->broken, 3U);
  EXPECT_TRUE(stamps.unchanged());
  scratch.write("refs/heads/a/deep/er", std::string(40, 'b') + "\n");
  EXPECT_FALSE(stamps.unchanged());
}

TEST(LooseRefs, takes_head_and_worktree_refs_from_the_worktree) {
  ScratchRepository scratch;
  const std::string commit = scratch.commit("one");
  scratch.git("update-ref refs/heads/main " + commit);
  scratch.git("worktree add -q -b side " + scratch.folder() + "/side main");
  scratch.run("git -C " + scratch.folder() + "/side update-ref refs/worktree/mine " + commit);
  scratch.git("update-ref refs/worktree/other " + commit);
  scratch.mutable_repository()->git_dir = scratch.path() + "/worktrees/side";
  FileStamps stamps;
  const auto refs = read_loose_refs_blocking(*scratch.repository(), ObjectFormat::sha1, stamps);
  ASSERT_TRUE(refs);
  EXPECT_EQ(refs->head.target, "refs/heads/side");
  std::vector<std::string> names;
  for (const LooseRef& ref : refs->refs) names.push_back(ref.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"refs/heads/main", "refs/heads/side", "refs/worktree/mine"}));
}

TEST(LooseRefs, says_when_there_are_no_refs_at_all) {
  ScratchRepository scratch;
  scratch.mutable_repository()->common_dir = scratch.folder() + "/nowhere";
  FileStamps stamps;
  const auto refs = read_loose_refs_blocking(*scratch.repository(), ObjectFormat::sha1, stamps);
  ASSERT_FALSE(refs);
  EXPECT_EQ(refs.error().code, io::Errc::not_found);
}

}  // namespace
}  // namespace weir::git
