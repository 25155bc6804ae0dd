#include "io/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace weir::io {
namespace {

TEST(Error, text_names_the_operation_the_kind_and_the_reason) {
  EXPECT_EQ(to_string(Error{Errc::limit, 0, "blocking pool queue"}), "blocking pool queue: limit");
  EXPECT_EQ(to_string(Error{Errc::system, ENOENT, "open packed-refs"}),
            "open packed-refs: system: No such file or directory");
}

TEST(Error, fits_in_two_words_and_a_tag) {
  EXPECT_LE(sizeof(Error), 24U);
}

}  // namespace
}  // namespace weir::io
