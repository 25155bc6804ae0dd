#include "git/reachability.h"

#include <algorithm>
#include <queue>
#include <set>
#include <utility>

#include "git/object_text.h"

namespace weir::git {
namespace {

// The commit-graph of a store's objects: one file, or the chain in its order.
std::vector<std::span<const std::uint8_t>> graph_files(
    const std::vector<MappedRepositoryFile>& files, std::uint8_t store) {
  std::vector<const MappedRepositoryFile*> found;
  for (const MappedRepositoryFile& file : files) {
    if (file.file.role == FileRole::commit_graph && file.file.store == store) {
      found.push_back(&file);
    }
  }
  std::ranges::sort(found, {}, [](const auto* file) { return file->file.order; });
  std::vector<std::span<const std::uint8_t>> parts;
  for (const MappedRepositoryFile* file : found) parts.push_back(file->mapping.bytes());
  return parts;
}

}  // namespace

io::Result<std::unique_ptr<Reachability>> Reachability::open(
    const std::vector<MappedRepositoryFile>& files, ObjectStore& store) {
  std::unique_ptr<Reachability> reach(new Reachability(files, store));
  std::set<std::uint8_t> stores;
  for (const MappedRepositoryFile& file : files) stores.insert(file.file.store);
  for (const std::uint8_t from : stores) {
    const std::vector<std::span<const std::uint8_t>> graphs = graph_files(files, from);
    if (graphs.empty()) continue;
    io::Result<CommitGraph> graph = CommitGraph::open(graphs, store.format());
    if (graph) reach->graphs_.push_back(std::move(*graph));  // they only save work
  }
  return reach;
}

io::Result<ObjectNumber> Reachability::number_of(const ObjectId& id) {
  const std::optional<ObjectNumber> number = store_.find(id);
  if (number) return *number;
  missing_ = id;
  return io::fail(io::Errc::not_found, "object");
}

// Each tag's name depends on what it points at, so there is no circle.
io::Result<ObjectNumber> Reachability::peel(ObjectNumber number,
                                            const std::function<void(ObjectNumber)>& on_tag) {
  for (unsigned tags = 0;; ++tags) {
    const io::Result<ObjectType> type = store_.type(number);
    if (!type) return std::unexpected(type.error());
    if (*type != ObjectType::tag) return number;
    if (tags == kTagsPeeledMax) return io::fail(io::Errc::limit, "tags of tags");
    if (on_tag) on_tag(number);
    const io::Result<ObjectContent> content = store_.read(number);
    if (!content) return std::unexpected(content.error());
    const io::Result<TagText> tag = parse_tag(content->span(), store_.format());
    if (!tag) return std::unexpected(tag.error());
    const io::Result<ObjectNumber> target = number_of(tag->target);
    if (!target) return std::unexpected(target.error());
    number = *target;
  }
}

io::Result<void> Reachability::read_commit(ObjectNumber number, Commit& commit) {
  const ObjectId id = store_.id(number);
  commit.parents.clear();
  for (const CommitGraph& graph : graphs_) {
    const std::optional<std::uint32_t> position = graph.find(id);
    if (!position) continue;
    const io::Result<void> read = graph.read(*position, graph_commit_);
    if (!read) return read;
    commit.tree = graph_commit_.tree;
    commit.date_s = graph_commit_.date_s;
    for (const std::uint32_t parent : graph_commit_.parents) {
      commit.parents.push_back(graph.id_at(parent));
    }
    return {};
  }
  const io::Result<ObjectContent> content = store_.read(number);
  if (!content) return std::unexpected(content.error());
  if (content->type != ObjectType::commit) return io::fail(io::Errc::corrupt, "not a commit");
  CommitText text;
  const io::Result<void> parsed = parse_commit(content->span(), store_.format(), text);
  if (!parsed) return parsed;
  commit.tree = text.tree;
  commit.parents = std::move(text.parents);
  commit.date_s = text.date_s;
  return {};
}

io::Result<void> Reachability::walk_commits(std::vector<ObjectNumber> pending, ObjectSet& into,
                                            std::vector<ObjectNumber>& fresh, ObjectSet& met,
                                            const WalkLimits& limits) {
  // Newest first: what is behind a bitmapped commit is then mostly met after it.
  std::priority_queue<std::pair<std::uint64_t, ObjectNumber>> queue;
  Commit commit;
  for (const ObjectNumber number : pending) {
    if (into.contains(number)) continue;
    const io::Result<bool> added = bitmaps_.add_reachable(number, into);
    if (!added) return std::unexpected(added.error());
  }
  for (const ObjectNumber number : pending) {
    if (into.contains(number)) continue;
    const io::Result<void> read = read_commit(number, commit);
    if (!read) return read;
    queue.emplace(commit.date_s, number);
  }
  unsigned steps = 0;
  while (!queue.empty()) {
    const ObjectNumber number = queue.top().second;
    queue.pop();
    if (into.contains(number)) continue;
    const io::Result<bool> added = bitmaps_.add_reachable(number, into);
    if (!added) return std::unexpected(added.error());
    if (*added) continue;
    into.add(number);
    fresh.push_back(number);
    if (limits.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
    io::Result<void> read = read_commit(number, commit);
    if (!read) return read;
    const std::vector<ObjectId> parents = std::move(commit.parents);
    for (const ObjectId& id : parents) {
      const io::Result<ObjectNumber> parent = number_of(id);
      if (!parent) return std::unexpected(parent.error());
      if (into.contains(*parent)) {
        met.add(*parent);
        continue;
      }
      read = read_commit(*parent, commit);
      if (!read) return read;
      queue.emplace(commit.date_s, *parent);
    }
  }
  return {};
}

io::Result<void> Reachability::add_tree(ObjectNumber root, ObjectSet& into,
                                        const WalkLimits& limits, PathHints* hints) {
  if (!into.insert(root)) return {};
  if (hints != nullptr) hints->note(root, PathHints::kRoot);
  std::vector<std::pair<ObjectNumber, PathHints::Path>> pending{{root, PathHints::kRoot}};
  while (!pending.empty()) {
    const auto [number, path] = pending.back();
    pending.pop_back();
    if (trees_read_ >= limits.trees_max) return io::fail(io::Errc::limit, "trees of a walk");
    if (limits.over(trees_read_)) return io::fail(io::Errc::limit, "time of a walk");
    const io::Result<ObjectContent> content = store_.read(number);
    if (!content) return std::unexpected(content.error());
    if (content->type != ObjectType::tree) return io::fail(io::Errc::corrupt, "not a tree");
    TreeReader reader(content->span(), store_.format());
    TreeEntry entry;
    while (reader.next(entry)) {
      if (entry.kind == TreeEntryKind::submodule) continue;
      const io::Result<ObjectNumber> child =
          number_of(ObjectId::from_bytes(entry.hash, store_.format()));
      if (!child) return std::unexpected(child.error());
      if (!into.insert(*child)) continue;
      PathHints::Path here = PathHints::kNoPath;
      if (hints != nullptr) {
        here = hints->child(path, entry.name);
        hints->note(*child, here);
      }
      if (entry.kind == TreeEntryKind::tree) pending.emplace_back(*child, here);
    }
    if (reader.malformed()) return io::fail(io::Errc::corrupt, "tree");
  }
  return {};
}

io::Result<ObjectSet> Reachability::closure(std::span<const ObjectNumber> tips,
                                            const WalkLimits& limits) {
  ObjectSet set = store_.empty_set();
  ObjectSet met = store_.empty_set();
  const io::Result<void> walked = extend(set, tips, met, limits);
  if (!walked) return std::unexpected(walked.error());
  return set;
}

io::Result<void> Reachability::extend(ObjectSet& set, std::span<const ObjectNumber> tips,
                                      ObjectSet& met, const WalkLimits& limits) {
  std::vector<ObjectNumber> commits, trees;
  unsigned steps = 0;
  for (const ObjectNumber tip : tips) {
    if (limits.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
    const io::Result<ObjectNumber> target = peel(tip, [&set](ObjectNumber tag) { set.add(tag); });
    if (!target) return std::unexpected(target.error());
    const io::Result<ObjectType> type = store_.type(*target);
    if (!type) return std::unexpected(type.error());
    if (*type == ObjectType::commit) {
      commits.push_back(*target);
    } else if (*type == ObjectType::tree) {
      trees.push_back(*target);
    } else {
      set.add(*target);
    }
  }
  std::vector<ObjectNumber> fresh;
  io::Result<void> walked = walk_commits(std::move(commits), set, fresh, met, limits);
  if (walked) walked = add_snapshots(fresh, set, limits);
  for (const ObjectNumber tree : trees) {
    if (walked) walked = add_tree(tree, set, limits, nullptr);
  }
  return walked;
}

io::Result<void> Reachability::add_snapshots(std::span<const ObjectNumber> commits, ObjectSet& into,
                                             const WalkLimits& limits, PathHints* hints) {
  Commit commit;
  for (const ObjectNumber number : commits) {
    io::Result<void> done = read_commit(number, commit);
    if (!done) return done;
    const io::Result<ObjectNumber> tree = number_of(commit.tree);
    if (!tree) return std::unexpected(tree.error());
    done = add_tree(*tree, into, limits, hints);
    if (!done) return done;
  }
  return {};
}

}  // namespace weir::git
