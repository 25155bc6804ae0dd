#include "git/hide_refs.h"

#include <gtest/gtest.h>

#include <vector>

namespace weir::git {
namespace {

using Patterns = std::vector<std::string>;

TEST(HideRefs, hides_whole_components_only) {
  const Patterns patterns = {"refs/secret"};
  EXPECT_TRUE(is_hidden("refs/secret", patterns));
  EXPECT_TRUE(is_hidden("refs/secret/a/b", patterns));
  EXPECT_FALSE(is_hidden("refs/secrets", patterns));
  EXPECT_FALSE(is_hidden("refs/secre", patterns));
  EXPECT_FALSE(is_hidden("refs/heads/refs/secret", patterns));
}

TEST(HideRefs, lets_the_last_match_decide) {
  EXPECT_FALSE(is_hidden("refs/pull/1/head", Patterns{"refs/pull", "!refs/pull/1"}));
  EXPECT_TRUE(is_hidden("refs/pull/1/head", Patterns{"!refs/pull/1", "refs/pull"}));
  EXPECT_TRUE(is_hidden("refs/pull/2/head", Patterns{"refs/pull", "!refs/pull/1"}));
}

TEST(HideRefs, ignores_trailing_slashes_and_reads_the_caret) {
  EXPECT_TRUE(is_hidden("refs/pull/1", Patterns{"refs/pull//"}));
  EXPECT_TRUE(is_hidden("refs/pull/1", Patterns{"^refs/pull"}));
  EXPECT_FALSE(is_hidden("refs/pull/1", Patterns{"refs", "!^refs/pull"}));
}

TEST(HideRefs, hides_nothing_by_an_empty_pattern) {
  EXPECT_FALSE(is_hidden("refs/heads/main", Patterns{"", "!", "^", "/"}));
}

}  // namespace
}  // namespace weir::git
