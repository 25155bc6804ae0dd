#include "io/uring_backend.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "tests/io/test_loop.h"

namespace weir::io {
namespace {

TEST(UringBackend, explains_each_refusal_with_what_to_do) {
  EXPECT_NE(std::strstr(explain_uring_refusal(EPERM), "kernel.io_uring_disabled"), nullptr);
  EXPECT_NE(std::strstr(explain_uring_refusal(EPERM), "seccomp"), nullptr);
  EXPECT_NE(std::strstr(explain_uring_refusal(ENOSYS), "without io_uring"), nullptr);
  EXPECT_NE(std::strstr(explain_uring_refusal(ENOMEM), "RLIMIT_MEMLOCK"), nullptr);
}

TEST(UringBackend, says_in_one_line_what_it_found) {
  TestLoop test({}, BackendKind::io_uring);
  const std::string line = test.loop.backend().describe();
  EXPECT_NE(line.find("taskrun"), std::string::npos) << line;
  EXPECT_NE(line.find("accept"), std::string::npos) << line;
  EXPECT_EQ(line.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace weir::io
