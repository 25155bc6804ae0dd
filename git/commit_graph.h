#pragma once
// CommitGraph: parents, root tree, date and generation of commits without inflating them: a single
// commit-graph file or a chain of them. A view of mapped bytes, which outlive it and may be any
// bytes: positions are checked where they are followed. A graph that lies may still lead round in a
// circle, or say generations that do not fall: walks remember where they were. Immutable after
// open(); any thread. Format: gitformat-commit-graph(5), version 1, chunks OIDF, OIDL, CDAT, EDGE,
// BASE, GDA2, GDO2; others are passed over. Checksums bind the files of a chain to each other; that
// a file's bytes match its own is not verified, which would mean to read all of it.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "git/name_table.h"
#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::uint32_t kCommitParentsMax = 65536;  // more is Errc::corrupt

class CommitGraph {
 public:
  // The files of a chain from its base to its tip; a single file is a chain of one.
  static io::Result<CommitGraph> open(std::span<const std::span<const std::uint8_t>> files,
                                      ObjectFormat format);

  std::uint32_t count() const { return count_; }
  std::optional<std::uint32_t> find(const ObjectId& id) const;
  // `position` < count(), here and below.
  ObjectId id_at(std::uint32_t position) const;

  struct Commit {
    ObjectId tree;
    std::vector<std::uint32_t> parents;  // positions
    std::uint64_t date_s = 0;            // committer's
    std::uint64_t generation = 0;        // corrected date if all files have it, else topological
  };
  // Fills `commit`, reusing its memory; what a failure leaves in it means nothing.
  io::Result<void> read(std::uint32_t position, Commit& commit) const;
  bool has_corrected_dates() const { return has_corrected_dates_; }

 private:
  // One file. Its commits have the positions first <= position < first + names.count().
  struct Layer {
    std::uint32_t first = 0;
    NameTable names;
    std::span<const std::uint8_t> commits;       // CDAT
    std::span<const std::uint8_t> edges;         // EDGE
    std::span<const std::uint8_t> date_offsets;  // GDA2
    std::span<const std::uint8_t> far_offsets;   // GDO2
    std::uint32_t end() const { return first + names.count(); }
  };

  io::Result<void> add_layer(std::span<const std::span<const std::uint8_t>> files,
                             std::size_t layer);
  const Layer& layer_of(std::uint32_t position) const;
  io::Result<void> read_parents(const Layer& layer, std::uint32_t position,
                                std::vector<std::uint32_t>& parents) const;
  static io::Result<std::uint64_t> corrected_date(const Layer& layer, std::uint32_t row,
                                                  std::uint64_t date_s);

  ObjectFormat format_ = ObjectFormat::sha1;
  std::vector<Layer> layers_;
  std::uint32_t count_ = 0;
  bool has_corrected_dates_ = true;
};

}  // namespace weir::git
