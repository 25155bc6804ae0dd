#include "git/ls_refs.h"

#include <gtest/gtest.h>

#include "git/pkt_line.h"

namespace weir::git {
namespace {

TEST(LsRefs, reads_its_arguments) {
  std::string body;
  for (const char* text : {"peel\n", "symrefs", "unborn\n", "ref-prefix refs/heads/\n",
                           "ref-prefix HEAD", "ref-prefix \n"}) {
    append_pkt(body, text);
  }
  append_flush(body);
  const auto request = parse_ls_refs(body);
  ASSERT_TRUE(request) << request.error();
  EXPECT_TRUE(request->peel && request->symrefs && request->unborn);
  EXPECT_EQ(request->prefixes, (std::vector<std::string>{"refs/heads/", "HEAD", ""}));
  EXPECT_TRUE(parse_ls_refs("0000"));
}

TEST(LsRefs, ignores_prefixes_when_there_are_too_many) {
  std::string body;
  for (std::size_t i = 0; i + 1 < kLsRefsPrefixesMax; ++i) append_pkt(body, "ref-prefix x");
  EXPECT_EQ(parse_ls_refs(body + "0000")->prefixes.size(), kLsRefsPrefixesMax - 1);
  append_pkt(body, "ref-prefix y");
  EXPECT_TRUE(parse_ls_refs(body + "0000")->prefixes.empty());
}

TEST(LsRefs, refuses_everything_else) {
  for (const char* body : {"", "0", "0001", "0002", "0003", "0009peel", "0009peel\n", "000cpeeled\n0000",
                           "0009peel\n0001", "000fref-prefix\n0000", "0009PEEL\n0000",
                           "0004" "0000", "000bpeel \n0000", "zzzz"}) {
    const auto request = parse_ls_refs(body);
    EXPECT_FALSE(request) << body;
    if (!request) EXPECT_FALSE(request.error().empty());
  }
}

}  // namespace
}  // namespace weir::git
