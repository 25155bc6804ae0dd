#include "git/repository_generation.h"

#include <gtest/gtest.h>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

class GenerationTest : public testing::Test {
 protected:
  const ScratchRepository scratch_;
  const std::string path_ = scratch_.folder() + "/generation";
  std::uint64_t advance(RepositoryGeneration& generation, const std::string& digest,
                        std::int64_t unix_ms = 1000) {
    bool stored = false;
    const std::uint64_t number = generation.advance_blocking(digest, unix_ms, stored);
    EXPECT_TRUE(stored);
    return number;
  }
};

TEST_F(GenerationTest, changes_with_the_digest_only) {
  RepositoryGeneration generation(path_);
  const std::uint64_t first = advance(generation, "a");
  EXPECT_EQ(first, 1000U);
  EXPECT_EQ(advance(generation, "a"), first);
  EXPECT_EQ(advance(generation, "b"), first + 1);
  EXPECT_EQ(advance(generation, "a"), first + 2);
}

TEST_F(GenerationTest, continues_after_an_orderly_end_with_equal_refs) {
  std::uint64_t last = 0;
  {
    RepositoryGeneration generation(path_);
    for (const char* digest : {"a", "b", "c"}) last = advance(generation, digest);
    generation.seal_blocking();
  }
  RepositoryGeneration same(path_);
  EXPECT_EQ(advance(same, "c"), last);
  RepositoryGeneration other(path_);
  EXPECT_GT(advance(other, "d"), last);
}

TEST_F(GenerationTest, is_never_lower_or_reused_when_it_was_killed) {
  std::uint64_t highest = 0;
  // Every process ends without a word, after 0 .. several blocks of changes.
  for (const std::uint64_t changes : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{5},
                                      2 * kGenerationBlock + 3, std::uint64_t{1}}) {
    RepositoryGeneration generation(path_);
    for (std::uint64_t i = 0; i < changes; ++i) {
      const std::uint64_t number =
          advance(generation, std::to_string(changes) + "-" + std::to_string(i));
      EXPECT_GT(number, highest);
      highest = number;
    }
  }
  // The digest of an unsealed file is not trusted: refs may have been other ones in between.
  RepositoryGeneration first(path_);
  highest = advance(first, "x");
  EXPECT_EQ(highest + 1, advance(first, "y"));
  RepositoryGeneration again(path_);
  EXPECT_GT(advance(again, "y"), highest + 1);
}

TEST_F(GenerationTest, takes_a_lost_or_malformed_file_as_a_reason_to_ask_the_clock) {
  for (const char* content :
       {"", "\n", "1", "1 5", "1 5 4 a\n", "2 5 5 a\n", "1 5 5 a", "x 5 5 a\n", "1 -5 5 a\n",
        "1 99999999999999999999999 5 a\n", "1 5 5\n"}) {
    std::ofstream(path_, std::ios::trunc) << content;
    RepositoryGeneration generation(path_);
    EXPECT_EQ(advance(generation, "a", 7000), 7000U) << content;
  }
}

TEST_F(GenerationTest, goes_on_when_it_cannot_be_stored) {
  RepositoryGeneration generation(scratch_.folder() + "/nowhere/generation");
  bool stored = true;
  EXPECT_EQ(generation.advance_blocking("a", 1000, stored), 1000U);
  EXPECT_FALSE(stored);
  EXPECT_EQ(generation.advance_blocking("b", 1000, stored), 1001U);
  EXPECT_FALSE(stored);
}

}  // namespace
}  // namespace weir::git
