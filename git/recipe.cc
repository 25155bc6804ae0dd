#include "git/recipe.h"

#include <algorithm>
#include <cstring>

#include "io/check.h"

namespace weir::git {
namespace {

// Of a piece, a file, all files: sizes are shifted by the kind's two bits.
constexpr std::uint64_t kPieceBytesMax = std::uint64_t{1} << 60;

// A piece is a varint of its size and kind, then where it is: a literal follows the last literal,
// an extent lies ahead of the last extent's end or behind it, or in another file.
enum class Kind : std::uint8_t { literal, ahead, behind, other_file };

void put(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// False: cut short, beyond 64 bits, or longer than need be.
bool get(std::string_view in, std::size_t& at, std::uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 64 && at < in.size(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(in[at++]);
    if (shift == 63 && byte > 1) return false;
    value |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return byte != 0 || shift == 0;
  }
  return false;
}

bool get_text(std::string_view in, std::size_t& at, std::string_view& text) {
  std::uint64_t bytes = 0;
  if (!get(in, at, bytes) || bytes > in.size() - at) return false;
  text = in.substr(at, bytes);
  at += bytes;
  return true;
}

// Where the last extent ended.
struct Place {
  std::uint64_t file = 0, offset = 0, literal = 0;
};

// Reads one piece. False: it cannot be one, whatever the files are.
bool get_piece(std::string_view in, std::size_t& at, Place& place, RecipePiece& piece) {
  std::uint64_t head = 0;
  if (!get(in, at, head)) return false;
  piece.bytes = head >> 2;
  if (piece.bytes == 0 || piece.bytes > kPieceBytesMax) return false;
  const auto kind = static_cast<Kind>(head & 3);
  if (kind == Kind::literal) {
    piece.file = RecipePiece::kLiteral;
    piece.offset = place.literal;
    place.literal += piece.bytes;
    return place.literal <= kRecipeLiteralBytesMax;
  }
  if (kind == Kind::other_file) {
    if (!get(in, at, place.file) || place.file >= RecipePiece::kLiteral) return false;
    place.offset = 0;
  }
  std::uint64_t distance = 0;
  if (!get(in, at, distance)) return false;
  if (kind == Kind::behind ? distance > place.offset : distance > kPieceBytesMax) return false;
  piece.file = static_cast<std::uint32_t>(place.file);
  piece.offset = kind == Kind::behind ? place.offset - distance : place.offset + distance;
  place.offset = piece.offset + piece.bytes;
  return place.offset <= kPieceBytesMax;
}

}  // namespace

void HashedTrailer::hashed(const PackTrailer& trailer) {
  if (busy_.test_and_set(std::memory_order_acquire)) return;  // another tells; the next will do
  if (!believed_.load(std::memory_order_relaxed)) {
    if (told_ && trailer == trailer_) {
      believed_.store(true, std::memory_order_release);
    } else {
      trailer_ = trailer;
      told_ = true;
    }
  }
  busy_.clear(std::memory_order_release);
}

std::uint32_t Recipe::pieces() const {
  return piece_count_;
}

std::size_t Recipe::memory_bytes() const {
  return sizeof(*this) + sizeof(HashedTrailer) + pieces_.capacity() + literals_.capacity();
}

std::span<const std::uint8_t> Recipe::literal(const RecipePiece& piece) const {
  return {reinterpret_cast<const std::uint8_t*>(literals_.data()) + piece.offset, piece.bytes};
}

bool Recipe::Cursor::next(RecipePiece& piece) {
  if (at_ == recipe_->pieces_.size()) return false;
  Place place{file_, offset_, literal_};
  WEIR_CHECK(get_piece(recipe_->pieces_, at_, place, piece));
  file_ = place.file;
  offset_ = place.offset;
  literal_ = place.literal;
  return true;
}

RecipeBuilder::RecipeBuilder(ObjectFormat format) {
  recipe_.format_ = format;
}

void RecipeBuilder::add_extent(std::uint32_t file, std::uint64_t offset, std::uint64_t bytes) {
  WEIR_CHECK(file != RecipePiece::kLiteral && offset + bytes <= kPieceBytesMax);
  if (bytes == 0) return;
  offset_ += bytes;
  if (last_.bytes > 0 && last_.file == file && last_.offset + last_.bytes == offset) {
    last_.bytes += bytes;
    return;
  }
  flush();
  last_ = {file, offset, bytes};
}

void RecipeBuilder::add_literal(std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return;
  offset_ += bytes.size();
  if (last_.bytes == 0 || last_.file != RecipePiece::kLiteral) {
    flush();
    last_ = {RecipePiece::kLiteral, recipe_.literals_.size(), 0};
  }
  last_.bytes += bytes.size();
  recipe_.literals_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void RecipeBuilder::flush() {
  if (last_.bytes == 0) return;
  ++recipe_.piece_count_;
  std::string& out = recipe_.pieces_;
  const auto head = [&](Kind kind) { put(out, last_.bytes << 2 | static_cast<unsigned>(kind)); };
  if (last_.file == RecipePiece::kLiteral) {
    head(Kind::literal);
    return;
  }
  if (last_.file != file_) {
    head(Kind::other_file);
    put(out, last_.file);
    put(out, last_.offset);
  } else if (last_.offset >= file_offset_) {
    head(Kind::ahead);
    put(out, last_.offset - file_offset_);
  } else {
    head(Kind::behind);
    put(out, file_offset_ - last_.offset);
  }
  file_ = last_.file;
  file_offset_ = last_.offset + last_.bytes;
}

Recipe RecipeBuilder::finish(const RecipeCounts& counts, std::optional<PackTrailer> trailer) {
  flush();
  last_.bytes = 0;
  recipe_.counts_ = counts;
  recipe_.trailer_ = trailer;
  recipe_.pack_bytes_ = offset_ + hash_bytes(recipe_.format_);
  recipe_.pieces_.shrink_to_fit();
  recipe_.literals_.shrink_to_fit();
  return std::move(recipe_);
}

void encode_recipe(const Recipe& recipe, std::string& out) {
  put(out, static_cast<std::uint64_t>(recipe.format_) << 1 | (recipe.trailer_ ? 1U : 0U));
  const RecipeCounts& counts = recipe.counts_;
  for (const std::uint32_t count :
       {counts.objects, counts.deltas, counts.reused, counts.extra, counts.reencoded}) {
    put(out, count);
  }
  if (recipe.trailer_) {
    out.append(reinterpret_cast<const char*>(recipe.trailer_->data()), hash_bytes(recipe.format_));
  }
  put(out, recipe.pack_bytes_);
  put(out, recipe.piece_count_);
  put(out, recipe.pieces_.size());
  out += recipe.pieces_;
  put(out, recipe.literals_.size());
  out += recipe.literals_;
}

io::Result<Recipe> decode_recipe(std::string_view bytes,
                                 std::span<const std::uint64_t> file_bytes) {
  constexpr auto corrupt = [](const char* why) { return io::fail(io::Errc::corrupt, why); };
  std::size_t at = 0;
  std::uint64_t value = 0;
  Recipe recipe;
  if (!get(bytes, at, value) || value > 3) return corrupt("recipe: format");
  recipe.format_ = static_cast<ObjectFormat>(value >> 1);
  const bool has_trailer = (value & 1) != 0;
  RecipeCounts& counts = recipe.counts_;
  for (std::uint32_t* const count :
       {&counts.objects, &counts.deltas, &counts.reused, &counts.extra, &counts.reencoded}) {
    if (!get(bytes, at, value) || value > 0xffffffff) return corrupt("recipe: counts");
    *count = static_cast<std::uint32_t>(value);
    if (*count > counts.objects) return corrupt("recipe: counts");
  }
  if (has_trailer) {
    const std::size_t hash = hash_bytes(recipe.format_);
    if (bytes.size() - at < hash) return corrupt("recipe: trailer");
    std::memcpy(recipe.trailer_.emplace().data(), bytes.data() + at, hash);
    at += hash;
  }
  std::string_view pieces, literals;
  if (!get(bytes, at, recipe.pack_bytes_) || !get(bytes, at, value) ||
      !get_text(bytes, at, pieces) || !get_text(bytes, at, literals) || at != bytes.size()) {
    return corrupt("recipe: cut short");
  }
  if (value > kRecipePiecesMax || literals.size() > kRecipeLiteralBytesMax) {
    return io::fail(io::Errc::limit, "recipe: pieces");
  }
  recipe.piece_count_ = static_cast<std::uint32_t>(value);

  // Each byte of a file is sent once at most, so that the answer's size is bounded by the files'.
  std::uint64_t left = 0;
  for (const std::uint64_t file : file_bytes) {
    left = std::min(left + std::min(file, kPieceBytesMax), kPieceBytesMax);
  }
  const std::uint64_t files_sum = left;
  Place place;
  RecipePiece piece;
  std::uint64_t count = 0;
  for (at = 0; at < pieces.size(); ++count) {
    if (!get_piece(pieces, at, place, piece)) return corrupt("recipe: piece");
    if (piece.file == RecipePiece::kLiteral) continue;
    if (piece.file >= file_bytes.size() || place.offset > file_bytes[piece.file]) {
      return corrupt("recipe: extent beyond its file");
    }
    if (piece.bytes > left) return corrupt("recipe: more than the files");
    left -= piece.bytes;
  }
  const std::uint64_t body_bytes = files_sum - left + literals.size();
  if (count != recipe.piece_count_ || place.literal != literals.size() ||
      recipe.pack_bytes_ != 12 + body_bytes + hash_bytes(recipe.format_) ||
      counts.objects > body_bytes) {
    return corrupt("recipe: sums");
  }
  recipe.pieces_ = pieces;
  recipe.literals_ = literals;
  return recipe;
}

}  // namespace weir::git
