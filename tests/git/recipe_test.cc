#include "git/recipe.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "io/byte_channel.h"

namespace weir::git {
namespace {

using std::string_literals::operator""s;

constexpr std::uint32_t kLiteral = RecipePiece::kLiteral;

std::vector<RecipePiece> pieces_of(const Recipe& recipe) {
  std::vector<RecipePiece> pieces;
  Recipe::Cursor cursor(recipe);
  for (RecipePiece piece; cursor.next(piece);) pieces.push_back(piece);
  return pieces;
}

std::string encoded(const Recipe& recipe) {
  std::string out;
  encode_recipe(recipe, out);
  return out;
}

Recipe sample() {
  RecipeBuilder builder(ObjectFormat::sha1);
  builder.add_extent(0, 12, 100);
  builder.add_literal(io::as_bytes("abc"));
  builder.add_extent(1, 50, 50);
  builder.add_extent(1, 20, 10);
  builder.add_literal(io::as_bytes("de"));
  return builder.finish({.objects = 5, .deltas = 2, .reused = 4, .extra = 1, .reencoded = 1},
                        std::nullopt);
}

TEST(Recipe, tells_its_pieces_in_order_with_its_sums) {
  const Recipe recipe = sample();
  EXPECT_EQ(pieces_of(recipe),
            (std::vector<RecipePiece>{
                {0, 12, 100}, {kLiteral, 0, 3}, {1, 50, 50}, {1, 20, 10}, {kLiteral, 3, 2}}));
  EXPECT_EQ(recipe.pieces(), 5U);
  EXPECT_EQ(recipe.pack_bytes(), 12U + 100 + 3 + 50 + 10 + 2 + 20);
  EXPECT_EQ(io::as_text(recipe.literal({kLiteral, 3, 2})), "de");
  EXPECT_EQ(recipe.counts().objects, 5U);
  EXPECT_FALSE(recipe.trailer());
}

TEST(Recipe, neighbours_become_one_and_nothing_is_no_piece) {
  RecipeBuilder builder(ObjectFormat::sha256);
  builder.add_extent(3, 10, 0);
  builder.add_literal({});
  builder.add_extent(3, 10, 5);
  builder.add_extent(3, 15, 5);
  builder.add_extent(4, 20, 5);  // goes on in another file
  builder.add_literal(io::as_bytes("a"));
  builder.add_literal(io::as_bytes("b"));
  builder.add_extent(4, 25, 5);
  EXPECT_EQ(builder.offset(), 12U + 10 + 5 + 2 + 5);
  std::array<std::uint8_t, 32> trailer{};
  trailer.fill(7);
  const Recipe recipe = builder.finish({.objects = 3}, trailer);
  EXPECT_EQ(pieces_of(recipe),
            (std::vector<RecipePiece>{{3, 10, 10}, {4, 20, 5}, {kLiteral, 0, 2}, {4, 25, 5}}));
  EXPECT_EQ(recipe.pack_bytes(), 12U + 22 + 32);
  EXPECT_EQ(recipe.trailer(), trailer);
}

TEST(Recipe, believes_a_trailer_once_two_agree_and_keeps_it) {
  PackTrailer right{}, wrong{};
  right.fill(1);
  wrong.fill(2);
  HashedTrailer trailer;
  trailer.hashed(wrong);
  trailer.hashed(right);
  EXPECT_EQ(trailer.believed(), nullptr);
  trailer.hashed(right);
  ASSERT_NE(trailer.believed(), nullptr);
  trailer.hashed(wrong);
  trailer.hashed(wrong);
  EXPECT_EQ(*trailer.believed(), right);
}

TEST(Recipe, an_empty_pack_is_a_header_and_a_trailer) {
  const Recipe recipe = RecipeBuilder(ObjectFormat::sha1).finish({}, std::nullopt);
  EXPECT_EQ(recipe.pack_bytes(), 32U);
  const io::Result<Recipe> decoded = decode_recipe(encoded(recipe), {});
  ASSERT_TRUE(decoded.has_value());
  EXPECT_TRUE(pieces_of(*decoded).empty());
}

TEST(Recipe, survives_the_way_between_processes) {
  std::array<std::uint8_t, 32> trailer{};
  trailer[19] = 1;
  RecipeBuilder builder(ObjectFormat::sha1);
  builder.add_extent(1, std::uint64_t{1} << 40, std::uint64_t{5} << 32);
  builder.add_extent(0, 0, 1);
  const Recipe whole = builder.finish({.objects = 7}, trailer);
  const std::vector<std::uint64_t> files{112, std::uint64_t{1} << 41};
  for (const Recipe& recipe : {sample(), whole}) {
    const io::Result<Recipe> decoded = decode_recipe(encoded(recipe), files);
    ASSERT_TRUE(decoded.has_value()) << decoded.error().where;
    EXPECT_EQ(pieces_of(*decoded), pieces_of(recipe));
    EXPECT_EQ(decoded->pack_bytes(), recipe.pack_bytes());
    EXPECT_EQ(decoded->trailer(), recipe.trailer());
    EXPECT_EQ(decoded->counts().extra, recipe.counts().extra);
    EXPECT_EQ(encoded(*decoded), encoded(recipe));
  }
}

// A branch's clone from a pack that holds more: 36,000 runs of objects, some far, few backwards.
TEST(Recipe, an_extent_takes_at_most_twelve_bytes) {
  constexpr int kExtents = 36'000;
  std::minstd_rand random(1);
  RecipeBuilder builder(ObjectFormat::sha1);
  std::vector<std::uint64_t> files{std::uint64_t{3} << 30, std::uint64_t{1} << 30};
  std::uint64_t at = 12;
  for (int i = 0; i < kExtents; ++i) {
    const std::uint64_t bytes = 40 + random() % (i % 50 == 0 ? 2'000'000 : 4'000);
    builder.add_extent(0, at, bytes);
    at += bytes + 30 + random() % 5'000;
    if (i % 40 == 0) builder.add_extent(1, random() % (std::uint64_t{1} << 29), 500);
  }
  const Recipe recipe = builder.finish({.objects = 95'000}, std::nullopt);
  const double bytes_each =
      static_cast<double>(recipe.memory_bytes()) / static_cast<double>(recipe.pieces());
  EXPECT_LE(bytes_each, 12.0);
  EXPECT_TRUE(decode_recipe(encoded(recipe), files).has_value());
}

// The fields of an encoded recipe, to be spoilt one by one.
struct Wire {
  std::string format = "\x00"s;  // sha1, no trailer
  std::string counts = "\x02\x01\x02\x00\x00"s;
  std::string trailer = "";
  std::string pack_bytes = "\x2c"s;  // 12 + 12 + 20
  std::string count = "\x02"s;
  std::string pieces = "\x29\x0c\x08"s;  // 10 bytes of file 0 at 12, a literal of 2
  std::string literals = "ab";
  std::string literals_bytes = "";  // where it lies

  std::string text() const {
    return format + counts + trailer + pack_bytes + count +
           std::string(1, static_cast<char>(pieces.size())) + pieces +
           (literals_bytes.empty() ? std::string(1, static_cast<char>(literals.size()))
                                   : literals_bytes) +
           literals;
  }
};
const std::vector<std::uint64_t> kFiles{22, 30};

TEST(Recipe, a_sound_one_is_taken) {
  const io::Result<Recipe> recipe = decode_recipe(Wire{}.text(), kFiles);
  ASSERT_TRUE(recipe.has_value()) << recipe.error().where;
  EXPECT_EQ(pieces_of(*recipe), (std::vector<RecipePiece>{{0, 12, 10}, {kLiteral, 0, 2}}));
  Wire backwards;  // 10 at 12, then 6 at 0 of file 0 once more
  backwards.pieces = "\x29\x0c\x1a\x16"s;
  backwards.literals = "";
  backwards.pack_bytes = "\x30"s;
  ASSERT_TRUE(decode_recipe(backwards.text(), kFiles).has_value());
}

TEST(Recipe, what_a_planner_may_not_say_is_refused) {
  const std::string huge = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s;
  const auto with = [](std::string Wire::* field, const std::string& value) {
    Wire wire;
    wire.*field = value;
    return wire.text();
  };
  const auto with_pieces = [](const std::string& pieces, const std::string& count) {
    Wire wire;
    wire.pieces = pieces;
    wire.count = count;
    return wire.text();
  };
  Wire repeating;  // its sums are right
  repeating.pieces = "\x29\x0c\x2a\x0a\x2a\x0a\x2a\x0a\x2a\x0a\x2a\x0a\x08"s;
  repeating.count = "\x07"s;
  repeating.pack_bytes = "\x5e"s;
  const std::vector<std::pair<const char*, std::string>> kTable{
      {"nothing", ""},
      {"an unknown format", with(&Wire::format, "\x04"s)},
      {"no trailer though one is promised", with(&Wire::format, "\x01"s)},
      {"a count beyond 32 bits", with(&Wire::counts, huge + "\x01\x02\x00\x00"s)},
      {"more deltas than objects", with(&Wire::counts, "\x02\x03\x02\x00\x00"s)},
      {"more extra blobs than objects", with(&Wire::counts, "\x02\x01\x02\x03\x00"s)},
      {"more objects than bytes", with(&Wire::counts, "\x0d\x01\x02\x00\x00"s)},
      {"a sum that is too small", with(&Wire::pack_bytes, "\x2b"s)},
      {"a sum that is too large", with(&Wire::pack_bytes, "\x2d"s)},
      {"a sum near 2^64", with(&Wire::pack_bytes, huge)},
      {"fewer pieces than there are", with(&Wire::count, "\x01"s)},
      {"more pieces than there are", with(&Wire::count, "\x03"s)},
      {"pieces beyond the bound", with(&Wire::count, "\x81\x80\x80\x20"s)},
      {"a number in more bytes than it needs", with(&Wire::count, "\x82\x00"s)},
      {"a number beyond 64 bits", with(&Wire::pack_bytes, huge.substr(0, 9) + "\x02"s)},
      {"a number that does not end", with(&Wire::pack_bytes, huge.substr(0, 9) + huge)},
      {"a piece of no bytes", with_pieces("\x29\x0c\x00\x08"s, "\x03"s)},
      {"an extent of no bytes", with_pieces("\x29\x0c\x01\x00\x08"s, "\x03"s)},
      {"a piece cut short", with_pieces("\x29"s, "\x01"s)},
      {"a piece's number cut short", with_pieces("\x29\x0c\x88"s, "\x02"s)},
      {"one byte beyond the file", with_pieces("\x29\x0d\x08"s, "\x02"s)},
      {"a file that there is not", with_pieces("\x2b\x02\x00\x08"s, "\x02"s)},
      {"a file number of literals", with_pieces("\x2b\xff\xff\xff\xff\x0f\x00\x08"s, "\x02"s)},
      {"a file number beyond 32 bits", with_pieces("\x2b" + huge + "\x00\x08"s, "\x02"s)},
      {"an offset that wraps", with_pieces("\x29" + huge + "\x08"s, "\x02"s)},
      {"a size that wraps", with_pieces(huge + "\x0c\x08"s, "\x02"s)},
      {"before the file's begin", with_pieces("\x2a\x01\x08"s, "\x02"s)},
      {"the same bytes again and again", repeating.text()},
      {"fewer literals than used", with(&Wire::literals, "a")},
      {"more literals than used", with(&Wire::literals, "abc")},
      {"literals cut short", with(&Wire::literals_bytes, "\x03"s)},
      {"literals beyond all bounds", with(&Wire::literals_bytes, huge)},
      {"bytes behind the end", Wire{}.text() + "\x00"s},
  };
  for (const auto& [what, bytes] : kTable) {
    EXPECT_FALSE(decode_recipe(bytes, kFiles).has_value()) << what;
  }
  const std::string sound = Wire{}.text();
  for (std::size_t bytes = 0; bytes < sound.size(); ++bytes) {
    EXPECT_FALSE(decode_recipe(sound.substr(0, bytes), kFiles).has_value()) << bytes;
  }
  EXPECT_FALSE(decode_recipe(sound, {}).has_value());
  EXPECT_FALSE(decode_recipe(sound, std::vector<std::uint64_t>{21, 30}).has_value());
  // Sizes of files that no sum can hold are no way around the bounds.
  const std::vector<std::uint64_t> absurd(16, ~std::uint64_t{0});
  EXPECT_TRUE(decode_recipe(sound, absurd).has_value());
}

}  // namespace
}  // namespace weir::git
