#pragma once
// Recipe: a pack that is not there yet: its header, then extents of files that exist and a few
// literal bytes, then the trailer. Made by a planner, turned into bytes by a loop (RecipeReader). A
// value; immutable once made; shared by all answers that are the same pack. About 8 bytes an
// extent. What arrives from a planner is decoded as hostile bytes: sums must match, extents must
// lie within the files the request's repository has. Format of the pack: gitformat-pack(5).

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::uint32_t kRecipePiecesMax = 64 * 1024 * 1024;
inline constexpr std::uint64_t kRecipeLiteralBytesMax = 256UL * 1024 * 1024;

// A run of bytes of the answer, in order. `file` indexes the files that both ends know for this
// repository (git/repository_files.h); kLiteral: bytes of Recipe::literals, also in order.
struct RecipePiece {
  static constexpr std::uint32_t kLiteral = 0xffffffff;
  std::uint32_t file = kLiteral;
  std::uint64_t offset = 0;  // in the file; of a literal: in Recipe::literals
  std::uint64_t bytes = 0;   // > 0
  friend bool operator==(const RecipePiece&, const RecipePiece&) = default;
};

// How the objects came to be in the answer: for the total line, metrics and logs.
struct RecipeCounts {
  std::uint32_t objects = 0;
  std::uint32_t deltas = 0;
  std::uint32_t reused = 0;     // copied as stored
  std::uint32_t extra = 0;      // blobs sent beyond what was asked, as bases
  std::uint32_t reencoded = 0;  // deflated anew

  // Sent with the whole pack they lie in, which nobody read: what git calls "pack-reused".
  std::uint32_t pack_reused() const { return objects - std::min(objects, reused + reencoded); }
};

using PackTrailer = std::array<std::uint8_t, 32>;  // the first hash_bytes() count

// The trailer of a recipe's pack as those who sent it have hashed it. It is believed once two of
// them agree: one bad read of a disk must not become what everybody is sent. Shared by the loops;
// nobody waits.
class HashedTrailer {
 public:
  // Null: not believed yet.
  const PackTrailer* believed() const {
    return believed_.load(std::memory_order_acquire) ? &trailer_ : nullptr;
  }
  void hashed(const PackTrailer& trailer);

 private:
  std::atomic<bool> believed_{false};
  std::atomic_flag busy_;
  bool told_ = false;      // by one
  PackTrailer trailer_{};  // does not change once it is believed
};

class Recipe {
 public:
  ObjectFormat format() const { return format_; }
  const RecipeCounts& counts() const { return counts_; }
  // Of the whole pack: header, pieces, trailer.
  std::uint64_t pack_bytes() const { return pack_bytes_; }
  // What the pack ends with, where a file already ends with it.
  const std::optional<PackTrailer>& trailer() const { return trailer_; }
  // Else it is hashed while it is sent, until it is known here.
  HashedTrailer& hashed_trailer() const { return *hashed_trailer_; }
  std::uint32_t pieces() const;
  std::size_t memory_bytes() const;

  // Walks the pieces from the first; seeks by pack offset are for resumable downloads.
  class Cursor {
   public:
    explicit Cursor(const Recipe& recipe) : recipe_(&recipe) {}
    // False: after the last.
    bool next(RecipePiece& piece);

   private:
    const Recipe* recipe_;
    std::size_t at_ = 0;
    std::uint64_t file_ = 0, offset_ = 0, literal_ = 0;
  };
  std::span<const std::uint8_t> literal(const RecipePiece& piece) const;

 private:
  friend class RecipeBuilder;
  friend io::Result<Recipe> decode_recipe(std::string_view, std::span<const std::uint64_t>);
  friend void encode_recipe(const Recipe&, std::string&);
  ObjectFormat format_ = ObjectFormat::sha1;
  RecipeCounts counts_;
  std::uint64_t pack_bytes_ = 0;
  std::uint32_t piece_count_ = 0;
  std::optional<PackTrailer> trailer_;
  std::shared_ptr<HashedTrailer> hashed_trailer_ = std::make_shared<HashedTrailer>();
  std::string pieces_;    // varints
  std::string literals_;  // in the order of use
};

// Neighbouring extents of one file, and neighbouring literals, become one.
class RecipeBuilder {
 public:
  explicit RecipeBuilder(ObjectFormat format);
  void add_extent(std::uint32_t file, std::uint64_t offset, std::uint64_t bytes);
  void add_literal(std::span<const std::uint8_t> bytes);
  // What has been added so far, the 12 bytes of the pack header included.
  std::uint64_t offset() const { return offset_; }
  // `trailer`: known when the pieces are a whole file's content. Ends the builder.
  Recipe finish(const RecipeCounts& counts, std::optional<PackTrailer> trailer);

 private:
  void flush();

  Recipe recipe_;
  RecipePiece last_;  // not yet written
  std::uint64_t offset_ = 12;
  std::uint64_t file_ = 0, file_offset_ = 0;  // where the last extent written ends
};

void encode_recipe(const Recipe& recipe, std::string& out);
// `file_bytes`: the size of each file of the repository, by its index. ~7 ns a piece: recipes that
// may be large are decoded off the loop.
io::Result<Recipe> decode_recipe(std::string_view bytes, std::span<const std::uint64_t> file_bytes);

}  // namespace weir::git
