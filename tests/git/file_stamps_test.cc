#include "git/file_stamps.h"

#include <gtest/gtest.h>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

TEST(FileStamps, tell_every_kind_of_change) {
  const ScratchRepository scratch;
  scratch.write("file", "one");
  const std::string path = scratch.path() + "/file";
  const auto stamp = [&] {
    FileStamps stamps;
    stamps.add(path, FileStamp::of_path(path.c_str(), false));
    return stamps;
  };
  const FileStamps before = stamp();
  EXPECT_TRUE(before.unchanged());
  scratch.write("file", "two");  // in place: same inode, same size
  EXPECT_FALSE(before.unchanged());
  const FileStamps second = stamp();
  scratch.run("cp " + path + " " + path + ".new && mv " + path + ".new " + path);
  EXPECT_FALSE(second.unchanged());
  const FileStamps third = stamp();
  scratch.run("rm " + path);
  EXPECT_FALSE(third.unchanged());
  const FileStamps gone = stamp();
  EXPECT_TRUE(gone.unchanged());
  scratch.write("file", "three");
  EXPECT_FALSE(gone.unchanged());
}

TEST(FileStamps, leave_off_when_the_disk_takes_longer_than_a_loop_may_wait) {
  const ScratchRepository scratch;
  scratch.write("file", "one");
  FileStamps stamps;
  const std::string path = scratch.path() + "/file";
  stamps.add(path, FileStamp::of_path(path.c_str(), false));
  io::ManualClock clock;
  EXPECT_TRUE(stamps.unchanged_by(clock, clock.now()));
  EXPECT_FALSE(stamps.unchanged_by(clock, clock.now() - io::Duration{1}));
  scratch.write("file", "two");
  EXPECT_FALSE(stamps.unchanged_by(clock, clock.now()));
}

TEST(FileStamps, do_not_trust_a_young_change_but_trust_it_later) {
  const ScratchRepository scratch;
  scratch.write("file", "one");
  const std::string path = scratch.path() + "/file";
  FileStamps young(io::SystemClock().unix_ns());
  young.add(path, FileStamp::of_path(path.c_str(), false));
  EXPECT_TRUE(young.racy());
  // Setting mtime back does not make it look old.
  scratch.run("touch -d '2001-01-01' " + path);
  EXPECT_TRUE(FileStamp::of_path(path.c_str(), false).is_racy_now());
  while (FileStamp::of_path(path.c_str(), false).is_racy_now()) {
  }
  FileStamps old(io::SystemClock().unix_ns());
  old.add(path, FileStamp::of_path(path.c_str(), false));
  EXPECT_FALSE(old.racy());
  EXPECT_FALSE(FileStamp::of_path("/nonexistent/x", false).is_racy_now());
}

TEST(FileStamps, distrust_whole_seconds_for_longer) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  FileStamp stamp;
  stamp.inode = 1;
  stamp.ctime_ns = (now.tv_sec - 1) * std::int64_t{1'000'000'000};
  EXPECT_TRUE(stamp.is_racy_now());
  stamp.ctime_ns += 1;
  EXPECT_FALSE(stamp.is_racy_now());
}

}  // namespace
}  // namespace weir::git
