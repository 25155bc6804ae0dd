#pragma once
// The pack a recipe stands for, as a loop would send it, and the view of a repository on disk, as
// a planner would have it.

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "git/recipe.h"
#include "git/repository_files.h"
#include "git/repository_view.h"
#include "io/digest.h"
#include "io/file_mapping.h"

namespace weir::git {

inline std::string pack_of(const Recipe& recipe, const RepositoryFiles& files) {
  std::string pack("PACK\0\0\0\2", 8);
  for (int shift = 24; shift >= 0; shift -= 8) {
    pack.push_back(static_cast<char>(recipe.counts().objects >> shift));
  }
  Recipe::Cursor cursor(recipe);
  RecipePiece piece;
  while (cursor.next(piece)) {
    if (piece.file == RecipePiece::kLiteral) {
      const std::span<const std::uint8_t> bytes = recipe.literal(piece);
      pack.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      continue;
    }
    const std::size_t before = pack.size();
    pack.resize(before + piece.bytes);
    const ssize_t got = pread(files.fd(piece.file), pack.data() + before, piece.bytes,
                              static_cast<off_t>(piece.offset));
    if (got != static_cast<ssize_t>(piece.bytes)) std::abort();
  }
  const auto append = [&pack](const std::uint8_t* hash, std::size_t bytes) {
    pack.append(reinterpret_cast<const char*>(hash), bytes);
  };
  if (recipe.trailer()) {
    append(recipe.trailer()->data(), hash_bytes(recipe.format()));
  } else if (recipe.format() == ObjectFormat::sha1) {
    const io::Sha1Digest digest = io::sha1(pack);
    append(digest.data(), digest.size());
  } else {
    const io::Sha256Digest digest = io::sha256(pack);
    append(digest.data(), digest.size());
  }
  if (pack.size() != recipe.pack_bytes()) std::abort();
  return pack;
}

inline io::Result<std::vector<MappedRepositoryFile>> mapped(const RepositoryFiles& files) {
  std::vector<MappedRepositoryFile> mapped;
  for (std::size_t i = 0; i < files.files().size(); ++i) {
    io::Result<io::FileMapping> mapping = io::FileMapping::open(files.fd(i));
    if (!mapping) return std::unexpected(mapping.error());
    mapped.push_back({files.files()[i], std::move(*mapping)});
  }
  return mapped;
}

inline io::Result<std::unique_ptr<RepositoryView>> view_of(const RepositoryFiles& files,
                                                           ObjectFormat format) {
  io::Result<std::vector<MappedRepositoryFile>> all = mapped(files);
  if (!all) return std::unexpected(all.error());
  return RepositoryView::open(std::move(*all), format);
}

}  // namespace weir::git
