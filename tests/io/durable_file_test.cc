#include "io/durable_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace weir::io {
namespace {

namespace fs = std::filesystem;

class DurableFile : public testing::Test {
 protected:
  DurableFile() {
    char name[] = "/tmp/weir-durable-XXXXXX";
    folder = mkdtemp(name);
  }
  ~DurableFile() override { fs::remove_all(folder); }
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static mode_t mode_of(const std::string& path) {
    struct stat status{};
    EXPECT_EQ(::stat(path.c_str(), &status), 0);
    return status.st_mode & 07777;
  }
  std::string folder;
};

TEST_F(DurableFile, a_file_is_replaced_and_no_draft_is_left) {
  const std::string path = folder + "/file";
  ASSERT_TRUE(write_durably(path, "a long first text"));
  ASSERT_TRUE(write_durably(path, "second"));
  EXPECT_EQ(read(path), "second");
  EXPECT_EQ(mode_of(path), 0600U);
  EXPECT_FALSE(fs::exists(path + ".tmp"));
}

TEST_F(DurableFile, a_failure_leaves_the_old_file_and_no_draft) {
  const std::string path = folder + "/file";
  fs::create_directories(path + "/inside");  // a rename onto it fails
  const Result<void> written = write_durably(path, "text");
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, Errc::system);
  EXPECT_TRUE(fs::exists(path + "/inside"));
  EXPECT_FALSE(fs::exists(path + ".tmp"));
  EXPECT_EQ(write_durably(folder + "/none/file", "text").error().sys_errno, ENOENT);
}

TEST_F(DurableFile, a_draft_is_never_written_through_a_link) {
  const std::string target = folder + "/target";
  ASSERT_TRUE(write_durably(target, "kept"));
  ASSERT_EQ(::symlink(target.c_str(), (folder + "/file.tmp").c_str()), 0);
  EXPECT_EQ(write_durably(folder + "/file", "text").error().sys_errno, ELOOP);
  EXPECT_EQ(read(target), "kept");
}

TEST_F(DurableFile, a_folder_is_made_once_and_refused_below_nothing) {
  const std::string path = folder + "/new";
  EXPECT_TRUE(make_folder_durably(path));
  EXPECT_TRUE(make_folder_durably(path));
  EXPECT_EQ(mode_of(path), 0700U);
  EXPECT_EQ(make_folder_durably(folder + "/none/new").error().sys_errno, ENOENT);
  EXPECT_EQ(sync_folder(folder + "/none").error().sys_errno, ENOENT);
}

TEST_F(DurableFile, the_folder_of_a_path) {
  EXPECT_EQ(folder_of("/a/b"), "/a");
  EXPECT_EQ(folder_of("/a"), "/");
  EXPECT_EQ(folder_of("a"), ".");
}

}  // namespace
}  // namespace weir::io
