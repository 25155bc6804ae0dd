#include "server/repository_lookup.h"

#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "tests/server/temporary_folder.h"

namespace weir::server {
namespace {

namespace fs = std::filesystem;

class RepositoryLookupTest : public testing::Test {
 protected:
  RepositoryLookupTest() { fs::create_directory(root); }

  // A git folder as `git init --bare` lays it out, as far as its shape is concerned.
  void make_git(const std::string& path) {
    fs::create_directories(path + "/objects");
    fs::create_directories(path + "/refs");
    write(path + "/HEAD", "ref: refs/heads/main\n");
  }
  static void write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }
  Lookup look(const std::string& path, const std::string& tenant = "t") {
    auto found = look_up_repository(root, tenant, path);
    EXPECT_TRUE(found) << io::to_string(found.error());
    return found ? std::move(*found) : Lookup{};
  }
  RepositoryKind kind(const std::string& path, const std::string& tenant = "t") {
    return look(path, tenant).location.kind;
  }
  std::string git_dir(const std::string& path, const std::string& tenant = "t") {
    const Lookup found = look(path, tenant);
    return found.location.repository ? found.location.repository->git_dir : "";
  }

  TemporaryFolder folder;
  const std::string root = folder.path() + "/root";
  const std::string t = root + "/t";
};

TEST_F(RepositoryLookupTest, finds_bare_and_other_repositories_at_any_depth) {
  make_git(t + "/a.git");
  make_git(t + "/x/y/z.git");
  make_git(t + "/work/.git");
  make_git(t + "/plain");
  EXPECT_EQ(git_dir("a.git"), t + "/a.git");
  EXPECT_EQ(git_dir("a"), t + "/a.git");
  EXPECT_EQ(git_dir("x/y/z"), t + "/x/y/z.git");
  EXPECT_EQ(git_dir("work"), t + "/work/.git");
  EXPECT_EQ(git_dir("work.git"), t + "/work/.git");
  EXPECT_EQ(git_dir("plain.git"), t + "/plain");
  const Lookup found = look("work");
  EXPECT_EQ(found.location.repository->name, "t/work");
  EXPECT_EQ(found.location.repository->common_dir, t + "/work/.git");
  EXPECT_EQ(look("x/y/z").location.repository->name, "t/x/y/z");
}

TEST_F(RepositoryLookupTest, lets_the_exact_name_win) {
  make_git(t + "/x");
  make_git(t + "/x.git");
  EXPECT_EQ(git_dir("x"), t + "/x");
  EXPECT_EQ(git_dir("x.git"), t + "/x.git");
  fs::create_directories(t + "/group/inner");
  make_git(t + "/group.git");
  EXPECT_EQ(git_dir("group"), t + "/group.git");
}

TEST_F(RepositoryLookupTest, never_takes_what_is_inside_a_repository_for_one) {
  make_git(t + "/a.git");
  make_git(t + "/a.git/sub.git");
  make_git(t + "/a.git/modules/m");
  make_git(t + "/work/.git");
  make_git(t + "/work/vendor/dep.git");
  make_git(t + "/work/.git/modules/m");
  fs::create_directories(t + "/hg/.hg");
  make_git(t + "/hg/sub.git");
  for (const char* inside : {"a.git/refs", "a.git/objects", "a.git/sub.git", "a.git/sub",
                             "a.git/modules/m", "a/sub.git", "work/.git", "work/vendor/dep.git",
                             "work/vendor/dep", "work/.git/modules/m", "hg/sub.git", "hg/.hg"}) {
    EXPECT_EQ(kind(inside), RepositoryKind::missing) << inside;
  }
  // Also when a link leads there, and when the repository around it is broken.
  fs::create_directory_symlink("a.git/sub.git", t + "/link.git");
  EXPECT_EQ(kind("link.git"), RepositoryKind::missing);
  write(t + "/work/.git/HEAD", "broken");
  EXPECT_EQ(kind("work/vendor/dep.git"), RepositoryKind::missing);
  // A tenant that is a repository holds none.
  make_git(root + "/u");
  make_git(root + "/u/a.git");
  EXPECT_EQ(kind("a.git", "u"), RepositoryKind::missing);
}

TEST_F(RepositoryLookupTest, knows_what_is_not_a_repository) {
  fs::create_directories(t + "/group");
  write(t + "/file", "x");
  write(t + "/file.git", "gitdir: group\n");
  make_git(t + "/no-head");
  fs::remove(t + "/no-head/HEAD");
  make_git(t + "/no-objects");
  fs::remove(t + "/no-objects/objects");
  make_git(t + "/no-refs");
  fs::remove(t + "/no-refs/refs");
  for (const char* none : {"group", "group.git", "file", "file.git", "file/x", "nothing", "no-head",
                           "no-objects", "no-refs", "group/nothing", ".git", "x/.git"}) {
    EXPECT_EQ(kind(none), RepositoryKind::missing) << none;
  }
  EXPECT_EQ(kind("a", "nobody"), RepositoryKind::missing);
  EXPECT_TRUE(look("nothing").checks.empty());
}

TEST_F(RepositoryLookupTest, reads_head_as_git_does) {
  make_git(t + "/a");
  for (const std::string& good :
       {std::string("ref: refs/heads/x"), std::string("ref:refs/heads/x\n"),
        std::string("ref: \trefs/heads/.invalid\n"), std::string(40, 'a') + "\n",
        std::string(64, '0')}) {
    write(t + "/a/HEAD", good);
    EXPECT_EQ(kind("a"), RepositoryKind::git) << good;
  }
  for (const std::string& bad : {std::string(""), std::string("\n"), std::string("ref: heads/x"),
                                 std::string("refs/heads/x"), std::string(39, 'a'),
                                 std::string(41, 'a'), std::string("ref:"), std::string(40, 'g')}) {
    write(t + "/a/HEAD", bad);
    EXPECT_EQ(kind("a"), RepositoryKind::missing) << bad;
  }
  fs::remove(t + "/a/HEAD");
  fs::create_symlink("refs/heads/main", t + "/a/HEAD");
  EXPECT_EQ(kind("a"), RepositoryKind::git);
  fs::remove(t + "/a/HEAD");
  fs::create_symlink("/etc/hostname", t + "/a/HEAD");
  EXPECT_EQ(kind("a"), RepositoryKind::missing);
  fs::remove(t + "/a/HEAD");
  ASSERT_EQ(mkfifo((t + "/a/HEAD").c_str(), 0600), 0);  // must not hang
  EXPECT_EQ(kind("a"), RepositoryKind::missing);
}

TEST_F(RepositoryLookupTest, follows_links_only_below_the_root) {
  const std::string outside = folder.path() + "/outside";
  make_git(outside + "/a.git");
  make_git(t + "/a.git");
  fs::create_directories(root + "/u");
  fs::create_directory_symlink("../t/a.git", root + "/u/inside.git");
  fs::create_directory_symlink("../../outside/a.git", t + "/outside.git");
  fs::create_directory_symlink(outside + "/a.git", t + "/absolute.git");
  fs::create_directory_symlink("../../outside", t + "/folder");
  fs::create_directory_symlink("../..", t + "/up");
  fs::create_directory_symlink("loop.git", t + "/loop.git");
  fs::create_directory_symlink(outside, root + "/v");
  EXPECT_EQ(git_dir("inside.git", "u"), t + "/a.git");
  EXPECT_EQ(look("inside.git", "u").location.repository->id, look("a").location.repository->id);
  EXPECT_EQ(look("inside.git", "u").location.repository->name, "u/inside.git");
  for (const char* leaves : {"outside.git", "absolute.git", "folder/a.git", "up/outside/a.git",
                             "up/root/t/a.git", "loop.git"}) {
    EXPECT_EQ(kind(leaves), RepositoryKind::missing) << leaves;
  }
  EXPECT_EQ(kind("a.git", "v"), RepositoryKind::missing);
}

TEST_F(RepositoryLookupTest, keeps_the_parts_of_a_repository_below_the_root) {
  const std::string outside = folder.path() + "/outside";
  make_git(outside);
  for (const char* part : {"objects", "refs"}) {
    make_git(t + "/a");
    make_git(t + "/store");
    fs::remove_all(t + "/a/" + part);
    fs::create_directory_symlink(outside + "/" + part, t + "/a/" + part);
    EXPECT_EQ(kind("a"), RepositoryKind::missing) << part;
    fs::remove(t + "/a/" + part);
    fs::create_directory_symlink(t + "/store/" + part, t + "/a/" + part);
    EXPECT_EQ(kind("a"), RepositoryKind::git) << part;
    fs::remove_all(t);
  }
  fs::create_directories(t + "/b");
  fs::create_directory_symlink(outside, t + "/b/.git");
  EXPECT_EQ(kind("b"), RepositoryKind::missing);
}

TEST_F(RepositoryLookupTest, follows_git_files_only_below_the_root) {
  make_git(folder.path() + "/outside");
  make_git(root + "/store/one");
  fs::create_directories(t + "/b");
  for (const std::string& good :
       {std::string("../../store/one"), root + "/store/one", std::string("../../store/one/")}) {
    write(t + "/b/.git", "gitdir: " + good + "\n");
    EXPECT_EQ(git_dir("b"), root + "/store/one") << good;
  }
  for (const std::string& bad :
       {std::string("gitdir: ../../../outside\n"), "gitdir: " + folder.path() + "/outside\n",
        std::string("gitdir: \n"), std::string("gitdir: nothing\n"),
        std::string("../../store/one\n"), std::string("gitdir:../../store/one\n"),
        std::string("gitdir: ../../store/one\0x\n", 27), "gitdir: " + std::string(5000, 'x'),
        std::string(""), std::string("gitdir: ..\n"), std::string("gitdir: ../..\n"),
        std::string("gitdir: /\n")}) {
    write(t + "/b/.git", bad);
    EXPECT_EQ(kind("b"), RepositoryKind::missing) << bad;
  }
}

TEST_F(RepositoryLookupTest, finds_the_common_folder_of_a_worktree) {
  const std::string make =
      "cd '" + root + "' && export HOME='" + folder.path() +
      "' && git init -q t/main && git -C t/main -c user.name=a -c user.email=a@b "
      "commit -q --allow-empty -m x && git -C t/main worktree add -q ../tree";
  ASSERT_EQ(std::system(make.c_str()), 0);
  const Lookup main = look("main"), tree = look("tree");
  ASSERT_TRUE(main.location.repository);
  ASSERT_TRUE(tree.location.repository);
  EXPECT_EQ(tree.location.repository->git_dir, t + "/main/.git/worktrees/tree");
  EXPECT_EQ(tree.location.repository->common_dir, t + "/main/.git");
  EXPECT_NE(tree.location.repository->id, main.location.repository->id);

  make_git(folder.path() + "/outside");
  for (const std::string& bad :
       {folder.path() + "/outside\n", std::string("../../../../../../outside\n"), std::string("\n"),
        std::string(""), std::string("nothing\n")}) {
    write(t + "/main/.git/worktrees/tree/commondir", bad);
    EXPECT_EQ(kind("tree"), RepositoryKind::missing) << bad;
  }
}

TEST_F(RepositoryLookupTest, tells_mercurial_by_its_folder) {
  fs::create_directories(t + "/h/.hg/store");
  EXPECT_EQ(kind("h"), RepositoryKind::mercurial);
  EXPECT_FALSE(look("h").location.repository);
  fs::create_directories(t + "/i");
  write(t + "/i/.hg", "x");
  EXPECT_EQ(kind("i"), RepositoryKind::missing);
  fs::create_directories(folder.path() + "/outside/.hg");
  fs::create_directories(t + "/j");
  fs::create_directory_symlink(folder.path() + "/outside/.hg", t + "/j/.hg");
  EXPECT_EQ(kind("j"), RepositoryKind::missing);
}

TEST_F(RepositoryLookupTest, gives_a_new_id_to_a_repository_made_again) {
  make_git(t + "/a.git");
  const auto first = look("a").location.repository->id;
  EXPECT_EQ(look("a").location.repository->id, first);
  fs::rename(t + "/a.git", t + "/b.git");
  EXPECT_EQ(look("b").location.repository->id, first);
  std::set<std::string> ids{first.to_hex()};
  fs::remove_all(t + "/b.git");
  for (int i = 0; i < 20; ++i) {  // inodes come back at once, birth times do not
    make_git(t + "/a.git");
    ids.insert(look("a").location.repository->id.to_hex());
    fs::remove_all(t + "/a.git");
  }
  EXPECT_EQ(ids.size(), 21U);
}

TEST_F(RepositoryLookupTest, takes_names_too_long_for_missing) {
  fs::create_directories(t);
  EXPECT_EQ(kind(std::string(255, 'n')), RepositoryKind::missing);
  EXPECT_EQ(kind(std::string(5000, 'n')), RepositoryKind::missing);
  std::string deep = "d";
  for (int i = 0; i < 3000; ++i) deep += "/d";
  EXPECT_EQ(kind(deep), RepositoryKind::missing);
  EXPECT_EQ(kind("a", std::string(300, 't')), RepositoryKind::missing);
}

TEST_F(RepositoryLookupTest, never_takes_a_disk_that_does_not_answer_for_missing) {
  const auto no_root = look_up_repository(root + "/gone", "t", "a");
  ASSERT_FALSE(no_root);
  EXPECT_EQ(no_root.error().code, io::Errc::unavailable);
  if (geteuid() != 0) GTEST_SKIP() << "needs another user to be refused as";
  make_git(t + "/a.git");
  chmod(folder.path().c_str(), 0755);
  chmod(t.c_str(), 0700);
  setfsuid(65534);  // this thread's file access only
  const auto denied = look_up_repository(root, "t", "a");
  setfsuid(0);
  ASSERT_FALSE(denied);
  EXPECT_EQ(denied.error().sys_errno, EACCES);
}

class StillThereTest : public RepositoryLookupTest {};

TEST_F(StillThereTest, holds_while_nothing_changes) {
  make_git(t + "/a.git");
  make_git(t + "/w/.git");
  for (const char* name : {"a", "a.git", "w", "w.git"}) {
    const Lookup found = look(name);
    EXPECT_TRUE(still_there(found)) << name;
  }
  const Lookup found = look("a");
  write(t + "/a.git/packed-refs", "");
  make_git(t + "/other.git");
  EXPECT_TRUE(still_there(found));
  EXPECT_FALSE(still_there(Lookup{}));
}

TEST_F(StillThereTest, ends_with_every_change_that_matters) {
  const struct {
    const char* what;
    const char* name;
    std::function<void(const std::string&)> change;
  } table[] = {
      {"deleted", "a", [](const std::string& at) { fs::remove_all(at + "/a.git"); }},
      {"renamed", "a", [](const std::string& at) { fs::rename(at + "/a.git", at + "/b.git"); }},
      {"made again", "a",
       [this](const std::string& at) {
         fs::remove_all(at + "/a.git");
         make_git(at + "/a.git");
       }},
      {"exact name appears", "a", [this](const std::string& at) { make_git(at + "/a"); }},
      {"folder of the exact name becomes a repository", "g",
       [this](const std::string& at) { make_git(at + "/g"); }},
      {"inner folder replaced", "w",
       [this](const std::string& at) {
         fs::rename(at + "/w/.git", at + "/w/old");
         make_git(at + "/w/.git");
       }},
      {"link turned", "l",
       [](const std::string& at) {
         fs::remove(at + "/l");
         fs::create_directory_symlink("c.git", at + "/l");
       }},
  };
  for (const auto& row : table) {
    fs::remove_all(t);
    make_git(t + "/a.git");
    make_git(t + "/c.git");
    fs::create_directories(t + "/g");
    make_git(t + "/g.git");
    make_git(t + "/w/.git");
    fs::create_directory_symlink("a.git", t + "/l");
    const Lookup found = look(row.name);
    ASSERT_EQ(found.location.kind, RepositoryKind::git) << row.what;
    EXPECT_TRUE(still_there(found)) << row.what;
    row.change(t);
    EXPECT_FALSE(still_there(found)) << row.what;
  }
}

}  // namespace
}  // namespace weir::server
