#include "server/locator.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/io/test_loop.h"
#include "tests/server/temporary_folder.h"

namespace weir::server {
namespace {

namespace fs = std::filesystem;

class LocatorTest : public testing::Test {
 protected:
  void make_git(const std::string& path) {
    fs::create_directories(path + "/objects");
    fs::create_directories(path + "/refs");
    std::ofstream(path + "/HEAD") << "ref: refs/heads/main\n";
  }
  io::Result<Location> locate(const std::string& path) {
    return test.run(locator.locate("t", path, clock.now()));
  }

  TemporaryFolder folder;
  io::TestLoop test;
  io::BlockingThreads pool{1};
  io::ManualClock clock;
  Locator locator{folder.path(), pool, clock};
};

TEST_F(LocatorTest, finds_a_repository_and_answers_the_same_from_memory) {
  make_git(folder.path() + "/t/a.git");
  const auto first = locate("a");
  ASSERT_TRUE(first);
  ASSERT_EQ(first->kind, RepositoryKind::git);
  const auto again = locate("a");
  EXPECT_EQ(again->repository, first->repository);  // the same object: nothing was looked up
  EXPECT_EQ(locate("nothing")->kind, RepositoryKind::missing);
}

TEST_F(LocatorTest, notices_deletion_and_return_at_once) {
  make_git(folder.path() + "/t/a.git");
  const auto first = locate("a");
  fs::remove_all(folder.path() + "/t/a.git");
  EXPECT_EQ(locate("a")->kind, RepositoryKind::missing);
  make_git(folder.path() + "/t/a.git");
  const auto second = locate("a");
  ASSERT_EQ(second->kind, RepositoryKind::git);
  EXPECT_NE(second->repository->id, first->repository->id);
}

TEST_F(LocatorTest, shares_a_look_that_began_after_the_request_had_arrived) {
  make_git(folder.path() + "/t/a.git");
  ASSERT_EQ(locate("a")->kind, RepositoryKind::git);
  const io::Instant arrived = clock.now();
  clock.advance(std::chrono::nanoseconds(1));
  ASSERT_EQ(locate("a")->kind, RepositoryKind::git);  // of another one, that looked after `arrived`
  fs::remove_all(folder.path() + "/t/a.git");
  EXPECT_EQ(test.run(locator.locate("t", "a", arrived))->kind, RepositoryKind::git);
  EXPECT_EQ(locate("a")->kind, RepositoryKind::missing);
}

TEST_F(LocatorTest, looks_again_after_a_while) {
  make_git(folder.path() + "/t/a.git");
  ASSERT_EQ(locate("a")->kind, RepositoryKind::git);
  fs::create_directory(folder.path() + "/t/.git");  // now inside a repository
  clock.advance(std::chrono::seconds(5));
  EXPECT_EQ(locate("a")->kind, RepositoryKind::missing);
}

TEST_F(LocatorTest, answers_unavailable_when_the_root_is_gone) {
  Locator lost(folder.path() + "/gone", pool, clock);
  const auto answer = test.run(lost.locate("t", "a", clock.now()));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, io::Errc::unavailable);
}

}  // namespace
}  // namespace weir::server
