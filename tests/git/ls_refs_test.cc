#include "git/ls_refs.h"

#include <gtest/gtest.h>

namespace weir::git {
namespace {

using Arguments = std::vector<std::string_view>;

TEST(LsRefs, reads_its_arguments) {
  const auto request = parse_ls_refs(Arguments{
      "peel", "symrefs", "unborn", "ref-prefix refs/heads/", "ref-prefix HEAD", "ref-prefix "});
  ASSERT_TRUE(request) << request.error();
  EXPECT_TRUE(request->peel && request->symrefs && request->unborn);
  EXPECT_EQ(request->prefixes, (std::vector<std::string>{"refs/heads/", "HEAD", ""}));
  const auto none = parse_ls_refs({});
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->peel || none->symrefs || none->unborn);
}

TEST(LsRefs, ignores_prefixes_when_there_are_too_many) {
  Arguments arguments(kLsRefsPrefixesMax - 1, "ref-prefix x");
  EXPECT_EQ(parse_ls_refs(arguments)->prefixes.size(), kLsRefsPrefixesMax - 1);
  arguments.push_back("ref-prefix y");
  EXPECT_TRUE(parse_ls_refs(arguments)->prefixes.empty());
}

TEST(LsRefs, refuses_everything_else) {
  for (const std::string_view argument :
       {"", " ", "peeled", "PEEL", "peel ", " peel", "ref-prefix", "ref-prefix\trefs/", "symref",
        "unborn\n", "want 1", "done"}) {
    const auto request = parse_ls_refs(Arguments{"peel", argument});
    ASSERT_FALSE(request) << argument;
    EXPECT_EQ(request.error(), "unexpected line: '" + std::string(argument) + "'");
  }
}

}  // namespace
}  // namespace weir::git
