// Recipes from a planner that was taken over: what is taken stays within its files and sums.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "git/recipe.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  static constexpr std::array<std::uint64_t, 4> kFiles{22, 5000, std::uint64_t{1} << 40,
                                                       ~std::uint64_t{0}};
  const std::string_view wire(reinterpret_cast<const char*>(data), bytes);
  const weir::io::Result<git::Recipe> recipe = git::decode_recipe(wire, kFiles);
  if (!recipe) return 0;
  std::string again;
  git::encode_recipe(*recipe, again);
  WEIR_CHECK(again == wire);
  git::Recipe::Cursor cursor(*recipe);
  std::uint64_t sum = 12 + git::hash_bytes(recipe->format());
  std::uint32_t count = 0;
  for (git::RecipePiece piece; cursor.next(piece); ++count) {
    WEIR_CHECK(piece.bytes > 0);
    sum += piece.bytes;
    if (piece.file == git::RecipePiece::kLiteral) {
      std::uint32_t digest = 0;
      for (const std::uint8_t byte : recipe->literal(piece)) digest += byte;
      WEIR_CHECK(digest <= 255 * piece.bytes);
    } else {
      WEIR_CHECK(piece.file < kFiles.size() && piece.offset <= kFiles[piece.file] &&
                 piece.bytes <= kFiles[piece.file] - piece.offset);
    }
  }
  WEIR_CHECK(sum == recipe->pack_bytes() && count == recipe->pieces());
  return 0;
}
