#include "git/ewah.h"

#include <gtest/gtest.h>

#include "tests/git/ewah_text.h"

namespace weir::git {
namespace {

constexpr std::uint64_t kAll = ~std::uint64_t{0};

struct Decoded {
  bool taken = false;
  bool decoded = false;
  std::size_t left = 0;  // bytes behind it
  std::vector<std::uint64_t> words;
};

Decoded decode(const std::string& text, std::uint32_t numbers) {
  const BigEndianBytes bytes(text);
  std::span<const std::uint8_t> rest = bytes.span();
  Decoded result;
  const io::Result<Ewah> ewah = Ewah::take(rest);
  if (!ewah) return result;
  result.taken = true;
  result.left = rest.size();
  ObjectSet set(numbers);
  result.decoded = ewah->xor_into(set, numbers).has_value();
  result.words = set.words();
  return result;
}

TEST(Ewah, decodes_runs_and_literal_words) {
  const struct {
    const char* what;
    std::string bytes;
    std::uint32_t numbers;
    std::vector<std::uint64_t> words;
  } accepted[] = {
      {"as git writes an empty one", ewah_bytes(0, {0}), 130, {0, 0, 0}},
      {"without even a marker", ewah_bytes(0, {}), 130, {0, 0, 0}},
      {"of no objects", ewah_bytes(0, {0}), 0, {}},
      {"one literal word", ewah_of(0b101, 3), 64, {0b101}},
      {"bits counted in whole words", ewah_of(0b101, 64), 3, {0b101}},
      {"zeros, then a literal", ewah_bytes(130, {ewah_marker(false, 2, 1), 3}), 130, {0, 0, 3}},
      {"ones", ewah_bytes(128, {ewah_marker(true, 2, 0)}), 128, {kAll, kAll}},
      {"two chunks",
       ewah_bytes(256, {ewah_marker(true, 1, 1), 7, ewah_marker(false, 1, 1), 9}, 2),
       256,
       {kAll, 7, 0, 9}},
      {"markers that say nothing", ewah_bytes(64, {0, 0, ewah_marker(true, 1, 0)}, 2), 64, {kAll}},
      {"fewer words than bits: the rest is zero",
       ewah_bytes(192, {ewah_marker(true, 1, 0)}),
       192,
       {kAll, 0, 0}},
  };
  for (const auto& row : accepted) {
    const Decoded decoded = decode(row.bytes + "rest", row.numbers);
    EXPECT_TRUE(decoded.decoded) << row.what;
    EXPECT_EQ(decoded.words, row.words) << row.what;
    EXPECT_EQ(decoded.left, 4U) << row.what;
  }
}

TEST(Ewah, turns_bits_over_so_that_what_is_there_twice_is_gone) {
  const BigEndianBytes bytes(
      ewah_bytes(192, {ewah_marker(true, 1, 1), 0b110, ewah_marker(false, 1, 0)}, 2));
  std::span<const std::uint8_t> rest = bytes.span();
  const Ewah ewah = *Ewah::take(rest);
  ObjectSet set(192);
  set.words() = {0b1, 0b011, 0b111};
  ASSERT_TRUE(ewah.xor_into(set, 192));
  EXPECT_EQ(set.words(), (std::vector<std::uint64_t>{kAll - 1, 0b101, 0b111}));
  ASSERT_TRUE(ewah.xor_into(set, 192));
  EXPECT_EQ(set.words(), (std::vector<std::uint64_t>{0b1, 0b011, 0b111}));
}

TEST(Ewah, refuses_what_is_cut_off_or_no_bitmap) {
  const std::string whole = ewah_bytes(130, {ewah_marker(false, 1, 2), 1, 2});
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(decode(whole.substr(0, bytes), 130).taken) << bytes;
  }
  const struct {
    const char* what;
    std::string bytes;
  } refused[] = {
      {"as many words as a number can say", BigEndianBytes().u32(64).u32(kAll).u64(0).u32(0).str()},
      {"one word too many", BigEndianBytes().u32(64).u32(2).u64(0).u32(0).str()},
      {"last marker behind the words", ewah_bytes(64, {0}, 1)},
      {"last marker anywhere", ewah_bytes(64, {0}, 0xffffffff)},
      {"last marker of no words", ewah_bytes(64, {}, 1)},
  };
  for (const auto& row : refused) EXPECT_FALSE(decode(row.bytes, 64).taken) << row.what;
}

TEST(Ewah, refuses_lengths_and_bits_that_lie) {
  const std::uint64_t most_literals = (std::uint64_t{1} << 31) - 1;
  const struct {
    const char* what;
    std::string bytes;
    std::uint32_t numbers;
  } refused[] = {
      {"more bits than objects", ewah_bytes(65, {0}), 64},
      {"as many bits as a number can say", ewah_bytes(0xffffffff, {0}), 64},
      {"bits where there are no objects", ewah_bytes(1, {0}), 0},
      {"a run longer than the bits", ewah_bytes(64, {ewah_marker(true, 2, 0)}), 128},
      {"a run of zeros longer than the bits", ewah_bytes(64, {ewah_marker(false, 2, 0)}), 128},
      {"the longest run", ewah_bytes(64, {ewah_marker(true, 0xffffffff, 0)}), 64},
      {"runs that are too long together",
       ewah_bytes(128, {ewah_marker(true, 1, 0), ewah_marker(true, 2, 0)}), 128},
      {"a run of no bits at all", ewah_bytes(0, {ewah_marker(true, 1, 0)}), 64},
      {"literals beyond the bits", ewah_bytes(64, {ewah_marker(false, 0, 2), 1, 1}), 128},
      {"literals beyond the bits after a run", ewah_bytes(64, {ewah_marker(true, 1, 1), 1}), 64},
      {"literals beyond the words", ewah_bytes(128, {ewah_marker(false, 0, 2), 1}), 128},
      {"no literal where one is promised", ewah_bytes(64, {ewah_marker(false, 0, 1)}), 64},
      {"the most literals", ewah_bytes(64, {ewah_marker(false, 0, most_literals), 1}), 64},
      {"run and literals that overflow together",
       ewah_bytes(64, {ewah_marker(true, 0xffffffff, most_literals), 1}), 64},
      {"a literal bit beyond the last object", ewah_of(0b1000, 3), 3},
      {"the highest bit beyond the last object", ewah_of(std::uint64_t{1} << 63, 64), 63},
      {"a run over the last object", ewah_bytes(64, {ewah_marker(true, 1, 0)}), 63},
  };
  for (const auto& row : refused) {
    const Decoded decoded = decode(row.bytes, row.numbers);
    EXPECT_TRUE(decoded.taken) << row.what;
    EXPECT_FALSE(decoded.decoded) << row.what;
  }
}

}  // namespace
}  // namespace weir::git
