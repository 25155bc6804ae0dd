#include "server/answer.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

// The mapping is exhaustive: a new error code needs a decision here.
TEST(AnswerFor, every_error_has_a_status_and_words) {
  const struct {
    io::Errc code;
    int status;
  } cases[] = {
      {io::Errc::cancelled, 500},   {io::Errc::deadline_exceeded, 503}, {io::Errc::closed, 500},
      {io::Errc::system, 500},      {io::Errc::protocol, 400},          {io::Errc::limit, 413},
      {io::Errc::invalid, 400},     {io::Errc::not_found, 404},         {io::Errc::denied, 403},
      {io::Errc::unavailable, 503}, {io::Errc::corrupt, 500},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(answer_for(one.code).status, one.status) << io::to_string(one.code);
    EXPECT_FALSE(answer_for(one.code).text.empty());
  }
}

TEST(AnswerFor, what_is_unavailable_is_never_told_as_no) {
  const int status = answer_for(io::Errc::unavailable).status;
  EXPECT_NE(status, 401);
  EXPECT_NE(status, 403);
  EXPECT_NE(status, 404);
}

}  // namespace
}  // namespace weir::server
