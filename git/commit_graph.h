#pragma once
// CommitGraph: parents, root tree, date and generation of commits without inflating them: a single
// commit-graph file or a chain of them. A view of mapped bytes, which outlive it and may be any
// bytes: positions are checked where they are followed. Immutable after open(); any thread.
// Format: gitformat-commit-graph(5), version 1, chunks OIDF, OIDL, CDAT, EDGE, BASE, GDA2, GDO2.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::uint32_t kCommitParentsMax = 65536;  // more is Errc::corrupt

class CommitGraph {
 public:
  // The files of a chain from its base to its tip; a single file is a chain of one.
  static io::Result<CommitGraph> open(std::span<const std::span<const std::uint8_t>> files,
                                      ObjectFormat format);

  std::uint32_t count() const;
  std::optional<std::uint32_t> find(const ObjectId& id) const;
  ObjectId id_at(std::uint32_t position) const;

  struct Commit {
    ObjectId tree;
    std::vector<std::uint32_t> parents;  // positions
    std::uint64_t date_s = 0;            // committer's
    std::uint64_t generation = 0;        // corrected date if all files have it, else topological
  };
  // Fills `commit`, reusing its memory.
  io::Result<void> read(std::uint32_t position, Commit& commit) const;
  bool has_corrected_dates() const;
};

}  // namespace weir::git
