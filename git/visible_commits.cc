#include "git/visible_commits.h"

namespace weir::git {
namespace {}  // namespace

io::Result<VisibleCommits> VisibleCommits::start(ObjectStore& store, Reachability& reach,
                                                 std::span<const ObjectNumber> tips,
                                                 const WalkLimits& limits) {
  VisibleCommits visible(store, reach);
  Reachability::Commit commit;
  unsigned steps = 0;
  for (const ObjectNumber tip : tips) {
    if (limits.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
    const io::Result<ObjectNumber> target = reach.peel(tip);
    if (!target) return std::unexpected(target.error());
    const ObjectNumber number = *target;
    const io::Result<ObjectType> type = store.type(number);
    if (!type) return std::unexpected(type.error());
    if (*type != ObjectType::commit || !visible.seen_.insert(number)) continue;
    const io::Result<void> read = reach.read_commit(number, commit);
    if (!read) return std::unexpected(read.error());
    visible.queue_.emplace(commit.date_s, number);
  }
  return visible;
}

io::Result<void> VisibleCommits::know_back_to(std::uint64_t date_s, const WalkLimits& limits) {
  Reachability::Commit commit;
  unsigned steps = 0;
  while (!queue_.empty() && queue_.top().first >= date_s) {
    if (limits.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
    const ObjectNumber number = queue_.top().second;
    io::Result<void> read = reach_->read_commit(number, commit);
    if (!read) return read;
    queue_.pop();
    const std::vector<ObjectId> parents = std::move(commit.parents);
    for (const ObjectId& id : parents) {
      const io::Result<ObjectNumber> parent = reach_->number_of(id);
      if (!parent) return std::unexpected(parent.error());
      if (!seen_.insert(*parent)) continue;
      read = reach_->read_commit(*parent, commit);
      if (!read) return read;
      queue_.emplace(commit.date_s, *parent);
    }
  }
  return {};
}

}  // namespace weir::git
