#include "git/commit_graph.h"

#include <algorithm>

#include "git/big_endian.h"
#include "git/chunk_table.h"

namespace weir::git {
namespace {

constexpr std::size_t kHeadBytes = 8;
constexpr std::size_t kRowBytesWithoutTree = 16;
constexpr std::uint32_t kNoParent = 0x70000000;  // and so no position
constexpr std::uint32_t kHighBit = 0x80000000;

std::unexpected<io::Error> corrupt(const char* where) {
  return io::fail(io::Errc::corrupt, where);
}

}  // namespace

io::Result<CommitGraph> CommitGraph::open(std::span<const std::span<const std::uint8_t>> files,
                                          ObjectFormat format) {
  if (files.empty()) return io::fail(io::Errc::invalid, "commit-graph: no file");
  CommitGraph graph;
  graph.format_ = format;
  for (std::size_t layer = 0; layer < files.size(); ++layer) {
    if (auto added = graph.add_layer(files, layer); !added) return std::unexpected(added.error());
  }
  return graph;
}

io::Result<void> CommitGraph::add_layer(std::span<const std::span<const std::uint8_t>> files,
                                        std::size_t layer_number) {
  const std::span<const std::uint8_t> file = files[layer_number];
  const std::size_t hash = hash_bytes(format_);
  if (file.size() < kHeadBytes + hash) return corrupt("commit-graph: too short");
  if (be32(file.data()) != 0x43475048) return corrupt("commit-graph: not one");  // "CGPH"
  if (file[4] != 1) return io::fail(io::Errc::invalid, "commit-graph: version");
  if (file[5] != (format_ == ObjectFormat::sha1 ? 1 : 2)) {
    return io::fail(io::Errc::invalid, "commit-graph: of another hash");
  }
  if (file[7] != layer_number) return corrupt("commit-graph: not at this place of a chain");
  const io::Result<ChunkTable> chunks = ChunkTable::read(file, kHeadBytes, file[6], hash);
  if (!chunks) return std::unexpected(chunks.error());

  const io::Result<NameTable> names =
      NameTable::open(chunks->find_or_empty("OIDF"), chunks->find_or_empty("OIDL"), format_);
  if (!names) return std::unexpected(names.error());
  Layer layer;
  layer.first = count_;
  layer.names = *names;
  const std::uint64_t count = names->count();
  if (count_ + count > kNoParent) return corrupt("commit-graph: too many commits");
  layer.commits = chunks->find_or_empty("CDAT");
  if (layer.commits.size() != count * (hash + kRowBytesWithoutTree)) {
    return corrupt("commit-graph: size of the commit data");
  }
  const auto date_offsets = chunks->find("GDA2");
  if (date_offsets && date_offsets->size() != count * 4) {
    return corrupt("commit-graph: size of the generation data");
  }
  has_corrected_dates_ = has_corrected_dates_ && date_offsets.has_value();
  layer.date_offsets = chunks->find_or_empty("GDA2");
  layer.far_offsets = chunks->find_or_empty("GDO2");
  layer.edges = chunks->find_or_empty("EDGE");
  const std::span<const std::uint8_t> bases = chunks->find_or_empty("BASE");
  if (bases.size() != layer_number * hash) return corrupt("commit-graph: how many bases");
  for (std::size_t i = 0; i < layer_number; ++i) {
    if (!std::ranges::equal(bases.subspan(i * hash, hash), files[i].last(hash))) {
      return corrupt("commit-graph: on another base");
    }
  }
  count_ += names->count();
  layers_.push_back(layer);
  return {};
}

std::optional<std::uint32_t> CommitGraph::find(const ObjectId& id) const {
  for (const Layer& layer : layers_) {
    if (const auto row = layer.names.find(id)) return layer.first + *row;
  }
  return std::nullopt;
}

ObjectId CommitGraph::id_at(std::uint32_t position) const {
  const Layer& layer = layer_of(position);
  return layer.names.id_at(position - layer.first);
}

const CommitGraph::Layer& CommitGraph::layer_of(std::uint32_t position) const {
  std::size_t layer = 0;
  while (position >= layers_[layer].end()) ++layer;
  return layers_[layer];
}

io::Result<void> CommitGraph::read(std::uint32_t position, Commit& commit) const {
  const Layer& layer = layer_of(position);
  const std::uint32_t row = position - layer.first;
  const std::size_t hash = hash_bytes(format_);
  const std::uint8_t* const bytes = layer.commits.data() + row * (hash + kRowBytesWithoutTree);
  commit.tree = ObjectId::from_bytes(bytes, format_);
  const std::uint32_t level_and_date = be32(bytes + hash + 8);
  commit.date_s = std::uint64_t{level_and_date & 3} << 32 | be32(bytes + hash + 12);
  commit.generation = level_and_date >> 2;
  if (has_corrected_dates_) {
    const io::Result<std::uint64_t> date = corrected_date(layer, row, commit.date_s);
    if (!date) return std::unexpected(date.error());
    commit.generation = *date;
  }
  return read_parents(layer, position, commit.parents);
}

io::Result<void> CommitGraph::read_parents(const Layer& layer, std::uint32_t position,
                                           std::vector<std::uint32_t>& parents) const {
  parents.clear();
  const std::size_t hash = hash_bytes(format_);
  const std::uint8_t* const bytes =
      layer.commits.data() + (position - layer.first) * (hash + kRowBytesWithoutTree) + hash;
  // A file knows itself and those below it.
  const auto add = [&](std::uint32_t parent) {
    if (parent >= layer.end() || parent == position) return false;
    parents.push_back(parent);
    return true;
  };
  const std::uint32_t first = be32(bytes);
  const std::uint32_t second = be32(bytes + 4);
  if (first == kNoParent) {
    if (second != kNoParent) return corrupt("commit-graph: a second parent without a first");
    return {};
  }
  if (!add(first)) return corrupt("commit-graph: a parent that cannot be");
  if (second == kNoParent) return {};
  if ((second & kHighBit) == 0) {
    if (!add(second)) return corrupt("commit-graph: a parent that cannot be");
    return {};
  }
  for (std::size_t at = second & ~kHighBit;; ++at) {
    if (at >= layer.edges.size() / 4 || parents.size() == kCommitParentsMax) {
      return corrupt("commit-graph: a list of parents without end");
    }
    const std::uint32_t edge = be32(layer.edges.data() + at * 4);
    if (!add(edge & ~kHighBit)) return corrupt("commit-graph: a parent that cannot be");
    if ((edge & kHighBit) != 0) return {};
  }
}

io::Result<std::uint64_t> CommitGraph::corrected_date(const Layer& layer, std::uint32_t row,
                                                      std::uint64_t date_s) {
  std::uint64_t offset = be32(layer.date_offsets.data() + std::size_t{row} * 4);
  if ((offset & kHighBit) != 0) {
    const std::size_t at = offset & ~std::uint64_t{kHighBit};
    if (at >= layer.far_offsets.size() / 8)
      return corrupt("commit-graph: a date that is not there");
    offset = be64(layer.far_offsets.data() + at * 8);
  }
  if (offset > ~std::uint64_t{0} - date_s) return corrupt("commit-graph: a date beyond numbers");
  return date_s + offset;
}

}  // namespace weir::git
