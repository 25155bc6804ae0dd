#include "git/fetch_guard.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/git/pkt_text.h"

namespace weir::git {
namespace {

TEST(FetchGuard, serves_plain_filters_and_combinations_of_a_few) {
  for (const std::string& filter :
       std::vector<std::string>{"blob:none", "blob:limit=10k", "tree:0", "object:type=commit",
                                "combine:blob:none", "combine:blob:limit=1m+tree:3"}) {
    EXPECT_TRUE(filter_served(filter)) << filter;
  }
}

TEST(FetchGuard, serves_no_filter_that_reads_an_object_or_hides_what_it_is) {
  std::string many = "combine:blob:none";
  for (std::size_t i = 0; i < kFilterPartsMax; ++i) many += "+blob:none";
  for (const std::string& filter : std::vector<std::string>{
           "sparse:oid=refs/hidden/x:file", "sparse:oid=:/secret", "sparse:oid=" + kIdA,
           "sparse:path=/etc/passwd", "combine:tree:1+sparse:oid=main:x",
           "combine:tree:1+%73parse%3aoid=main:x", "combine:combine:blob:none",
           "combine:%63ombine%3ablob:none", "combine:", "combine:blob:none+", "", "blob",
           "BLOB:NONE", "%62lob:none", many}) {
    EXPECT_FALSE(filter_served(filter)) << filter;
  }
}

TEST(FetchGuard, knows_which_patterns_may_hide_tags) {
  const auto may = [](const std::string& pattern) {
    return may_hide_tags(std::vector<std::string>{pattern});
  };
  for (const char* pattern :
       {"refs", "refs/tags", "refs/tags/", "refs/tags/private", "^refs/tags/x"}) {
    EXPECT_TRUE(may(pattern)) << pattern;
  }
  for (const char* pattern : {"refs/pull", "refs/tagsx", "refs/t", "!refs/tags/x", "", "tags"}) {
    EXPECT_FALSE(may(pattern)) << pattern;
  }
  EXPECT_TRUE(may_hide_tags(std::vector<std::string>{"refs/tags/a", "!refs/tags/a"}));
}

TEST(FetchGuard, has_git_ask_what_reaches_the_shallow_commits_of_who_wants_all_history) {
  const std::string line = "want " + kIdA + " side-band-64k include-tag\n";
  EXPECT_EQ(request_for_git(
                pkts({line, "shallow " + kIdB, "deepen 2147483647\n", "0000", "done\n"}), 0, false),
            pkts({line, "shallow " + kIdB, "deepen 2147483646", "want " + kIdA + " deepen-relative",
                  "0000", "done\n"}));
  EXPECT_EQ(
      request_for_git(pkts({"command=fetch", "0001", "deepen 2147483647", "include-tag", "0000"}),
                      2, false),
      pkts({"command=fetch", "0001", "deepen 2147483646", "deepen-relative", "include-tag",
            "0000"}));
}

TEST(FetchGuard, gives_git_every_other_request_as_it_is) {
  const std::string other = pkts(
      {"want " + kIdA + " include-tag", "deepen 50\n", "0000", "have " + kIdB, "0000", "done"});
  EXPECT_EQ(request_for_git(other, 0, false), other);
}

TEST(FetchGuard, takes_the_wish_for_tags_out_of_every_want) {
  const std::string blank(11, ' ');
  EXPECT_EQ(request_for_git(pkts({"want " + kIdA + " a include-tag=1 include-tag\tb\n",
                                  "want " + kIdB + " include-tag", "0000", "done\n"}),
                            1, true),
            pkts({"want " + kIdA + " a " + blank + "=1 " + blank + "\tb\n",
                  "want " + kIdB + " " + blank, "0000", "done\n"}));
  EXPECT_EQ(request_for_git(pkts({"command=fetch", "agent=include-tag", "0001", "include-tag\n",
                                  "want " + kIdA, "include-tag", "0000"}),
                            2, true),
            pkts({"command=fetch", "agent=include-tag", "0001", "want " + kIdA, "0000"}));
}

}  // namespace
}  // namespace weir::git
