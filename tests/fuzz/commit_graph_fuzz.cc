// A commit-graph of any content, of one file or a chain of up to three: refused, or each commit is
// read or refused. Before each file but the last: two bytes for its length; first, a byte for the
// hash (bit 0) and how many files follow (bits 1 and 2).

#include <algorithm>
#include <cstdint>
#include <vector>

#include "git/big_endian.h"
#include "git/commit_graph.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 1) return 0;
  const auto format = (data[0] & 1) != 0 ? git::ObjectFormat::sha256 : git::ObjectFormat::sha1;
  std::span<const std::uint8_t> rest(data + 1, bytes - 1);
  std::vector<std::span<const std::uint8_t>> files;
  for (unsigned more = data[0] >> 1 & 3; more > 1 && rest.size() >= 2; --more) {
    const std::size_t length = std::min<std::size_t>(git::be16(rest.data()), rest.size() - 2);
    files.push_back(rest.subspan(2, length));
    rest = rest.subspan(2 + length);
  }
  files.push_back(rest);
  const auto graph = git::CommitGraph::open(files, format);
  if (!graph) return 0;
  git::CommitGraph::Commit commit;
  for (std::uint32_t position = 0; position < graph->count(); ++position) {
    const git::ObjectId id = graph->id_at(position);
    const auto found = graph->find(id);
    WEIR_CHECK(!found || graph->id_at(*found) == id);
    if (!graph->read(position, commit)) continue;
    WEIR_CHECK(commit.parents.size() <= git::kCommitParentsMax);
    WEIR_CHECK(commit.tree.bytes == git::hash_bytes(format));
    WEIR_CHECK(!graph->has_corrected_dates() || commit.generation >= commit.date_s);
    for (const std::uint32_t parent : commit.parents) {
      WEIR_CHECK(parent < graph->count() && parent != position);
    }
  }
  return 0;
}
