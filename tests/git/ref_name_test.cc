#include "git/ref_name.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::git {
namespace {

TEST(RefName, accepts_what_git_accepts) {
  for (const char* name : {"refs/heads/main", "refs/heads/a/b/c", "refs/x", "refs/tags/v1.0",
                           "refs/heads/@", "refs/heads/a@b", "refs/heads/{x}", "refs/heads/-dash",
                           "refs/heads/\xc3\xa9", "refs/heads/lock", "refs/heads/a.lockx"}) {
    EXPECT_TRUE(is_ref_name(name)) << name;
  }
}

TEST(RefName, refuses_what_git_refuses) {
  for (const char* name : {"",
                           "HEAD",
                           "refs",
                           "refs/",
                           "refs//a",
                           "refs/heads/",
                           "refs/heads//a",
                           "/refs/heads/a",
                           "refs/.a",
                           "refs/heads/.hidden",
                           "refs/heads/a..b",
                           "refs/heads/..",
                           "refs/heads/a.",
                           "refs/heads/a.lock",
                           "refs/a.lock/b",
                           "refs/heads/a b",
                           "refs/heads/a~b",
                           "refs/heads/a^",
                           "refs/heads/a:b",
                           "refs/heads/a?",
                           "refs/heads/a*",
                           "refs/heads/a[",
                           "refs/heads/a\\b",
                           "refs/heads/a@{b",
                           "refs/heads/\x7f",
                           "refs/heads/a\tb",
                           "refs/heads/a\nb",
                           "heads/main",
                           "Refs/heads/main",
                           "refs/../HEAD",
                           "refs/heads/a/."}) {
    EXPECT_FALSE(is_ref_name(name)) << name;
  }
  EXPECT_FALSE(is_ref_name(std::string("refs/heads/a\0b", 14)));
  EXPECT_FALSE(is_ref_name("refs/heads/" + std::string(kRefNameBytesMax, 'a')));
}

}  // namespace
}  // namespace weir::git
