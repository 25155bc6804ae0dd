#include "http/message.h"

#include <gtest/gtest.h>

namespace weir::http {
namespace {

TEST(RequestHead, finds_fields_without_regard_to_case) {
  RequestHead head;
  head.fields = {{"Git-Protocol", "version=2"}, {"git-protocol", "version=1"}};
  EXPECT_EQ(head.field("GIT-PROTOCOL"), "version=2");
  EXPECT_EQ(head.field("git-proto"), std::nullopt);
}

}  // namespace
}  // namespace weir::http
