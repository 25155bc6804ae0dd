#include "io/memory_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

namespace weir::io {
namespace {

TEST(MemoryFile, holds_what_it_was_given_and_changes_no_more) {
  const std::string content(100'000, 'x');
  const auto file = make_sealed_memory_file("test", content);
  ASSERT_TRUE(file);
  EXPECT_EQ(sealed_memory_bytes(file->get()).value_or(0), content.size());
  EXPECT_EQ(read_sealed_memory_file(file->get(), content.size()).value_or(""), content);
  EXPECT_EQ(pwrite(file->get(), "y", 1, 0), -1);
  EXPECT_EQ(ftruncate(file->get(), 0), -1);
  EXPECT_EQ(ftruncate(file->get(), 200'000), -1);
  EXPECT_EQ(fcntl(file->get(), F_GET_SEALS) & F_SEAL_SEAL, F_SEAL_SEAL);
}

TEST(MemoryFile, may_be_empty) {
  const auto file = make_sealed_memory_file("test", "");
  ASSERT_TRUE(file);
  EXPECT_EQ(read_sealed_memory_file(file->get(), 0).value_or("failed"), "");
}

TEST(MemoryFile, is_not_read_beyond_its_bound) {
  const auto file = make_sealed_memory_file("test", "12");
  ASSERT_TRUE(file);
  EXPECT_EQ(read_sealed_memory_file(file->get(), 1).error().code, Errc::limit);
}

TEST(MemoryFile, refuses_whatever_could_block_or_shrink) {
  for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_GROW | F_SEAL_WRITE,
                          F_SEAL_SHRINK | F_SEAL_WRITE}) {
    const UniqueFd file(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(fcntl(file.get(), F_ADD_SEALS, seals), 0);
    EXPECT_FALSE(sealed_memory_bytes(file.get()).has_value()) << seals;
  }
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  const UniqueFd read_end(pipe_ends[0]), write_end(pipe_ends[1]);
  const UniqueFd device(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  const UniqueFd on_disk(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  for (const int fd : {read_end.get(), device.get(), on_disk.get(), -1}) {
    EXPECT_FALSE(read_sealed_memory_file(fd, 100).has_value());
  }
}

}  // namespace
}  // namespace weir::io
