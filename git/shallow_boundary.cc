#include "git/shallow_boundary.h"

#include <utility>

namespace weir::git {

io::Result<ShallowBoundary> shallow_boundary(ObjectStore& store, Reachability& reach,
                                             std::span<const ObjectNumber> wants,
                                             std::uint32_t depth, const WalkLimits& limits) {
  ShallowBoundary boundary{.shallow = {}, .nearer = store.empty_set()};
  ObjectSet seen = store.empty_set();
  std::vector<ObjectNumber> step, next;
  for (const ObjectNumber want : wants) {
    const io::Result<ObjectNumber> target = reach.peel(want);
    if (!target) return std::unexpected(target.error());
    const io::Result<ObjectType> type = store.type(*target);
    if (!type) return std::unexpected(type.error());
    if (*type == ObjectType::commit && seen.insert(*target)) step.push_back(*target);
  }
  Reachability::Commit commit;
  for (std::uint32_t distance = 1; distance < depth && !step.empty(); ++distance) {
    if (limits.expired && limits.expired()) return io::fail(io::Errc::limit, "time of a walk");
    next.clear();
    for (const ObjectNumber number : step) {
      boundary.nearer.add(number);
      const io::Result<void> read = reach.read_commit(number, commit);
      if (!read) return std::unexpected(read.error());
      for (const ObjectId& id : commit.parents) {
        const io::Result<ObjectNumber> parent = reach.number_of(id);
        if (!parent) return std::unexpected(parent.error());
        if (seen.insert(*parent)) next.push_back(*parent);
      }
    }
    std::swap(step, next);
  }
  boundary.shallow = std::move(step);
  return boundary;
}

}  // namespace weir::git
