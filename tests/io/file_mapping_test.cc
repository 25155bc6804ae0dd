#include "io/file_mapping.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "io/unique_fd.h"

namespace weir::io {
namespace {

UniqueFd file_of(std::string_view content) {
  UniqueFd fd(::memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::write(fd.get(), content.data(), content.size()),
            static_cast<ssize_t>(content.size()));
  return fd;
}
std::string text(const FileMapping& mapping) {
  return {mapping.bytes().begin(), mapping.bytes().end()};
}

TEST(FileMapping, shows_the_whole_file_and_needs_no_descriptor_afterwards) {
  UniqueFd fd = file_of("some bytes");
  const Result<FileMapping> mapping = FileMapping::open(fd.get());
  fd.reset();
  ASSERT_TRUE(mapping);
  EXPECT_EQ(text(*mapping), "some bytes");
}

TEST(FileMapping, has_the_size_of_the_moment_it_was_made) {
  const UniqueFd fd = file_of("some");
  const Result<FileMapping> mapping = FileMapping::open(fd.get());
  ASSERT_EQ(::write(fd.get(), " more", 5), 5);
  EXPECT_EQ(text(*mapping), "some");
}

TEST(FileMapping, of_an_empty_file_is_empty) {
  const Result<FileMapping> mapping = FileMapping::open(file_of("").get());
  ASSERT_TRUE(mapping);
  EXPECT_TRUE(mapping->bytes().empty());
  EXPECT_TRUE(FileMapping().bytes().empty());
}

TEST(FileMapping, takes_a_sealed_file) {
  const UniqueFd fd = file_of("sealed");
  ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
  const Result<FileMapping> mapping = FileMapping::open(fd.get());
  ASSERT_TRUE(mapping);
  EXPECT_EQ(text(*mapping), "sealed");
}

TEST(FileMapping, moves_and_is_replaced) {
  FileMapping first = std::move(*FileMapping::open(file_of("first").get()));
  FileMapping second = std::move(first);
  EXPECT_TRUE(first.bytes().empty());
  EXPECT_EQ(text(second), "first");
  second = std::move(*FileMapping::open(file_of("second").get()));
  EXPECT_EQ(text(second), "second");
}

TEST(FileMapping, refuses_what_is_no_file) {
  const UniqueFd folder(::open("/", O_RDONLY | O_CLOEXEC));
  const UniqueFd device(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  const UniqueFd written(::open("/tmp", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
  ASSERT_EQ(::write(written.get(), "x", 1), 1);
  EXPECT_EQ(FileMapping::open(folder.get()).error().code, Errc::invalid);
  EXPECT_EQ(FileMapping::open(device.get()).error().code, Errc::invalid);
  EXPECT_EQ(FileMapping::open(written.get()).error().code, Errc::system);  // not to be read
  EXPECT_EQ(FileMapping::open(-1).error().code, Errc::system);
}

}  // namespace
}  // namespace weir::io
