#include "git/fetch_difference.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <ranges>
#include <utility>

namespace weir::git {
namespace {

constexpr std::size_t kShallowTipsMax = 16;
constexpr std::size_t kEdgesLookedAt = 2;  // for hints

class Painting {
 public:
  Painting(ObjectStore& store, Reachability& reach, const ObjectSet& cut, const WalkLimits& limits)
      : store_(store),
        reach_(reach),
        cut_(cut),
        limits_(limits),
        wanted_(store.empty_set()),
        owned_(store.empty_set()),
        queued_(store.empty_set()) {}

  io::Result<Difference> paint(std::span<const ObjectNumber> wants, std::size_t asked,
                               std::span<const ObjectNumber> haves, PathHints* hints);

 private:
  io::Result<void> start(std::span<const ObjectNumber> tips, bool owned);
  io::Result<void> color(ObjectNumber commit, bool owned);
  io::Result<void> spread();
  // Without those the client does not have; with `whole`, all.
  io::Result<std::vector<ObjectNumber>> parents_of(ObjectNumber commit, bool whole = false);
  io::Result<bool> meet_owned(std::span<const ObjectNumber> wants);
  io::Result<void> newest_first(std::vector<ObjectNumber>& commits);
  io::Result<void> look_at_edge(std::vector<ObjectNumber> edge, PathHints& hints);

  ObjectStore& store_;
  Reachability& reach_;
  const ObjectSet& cut_;
  const WalkLimits& limits_;
  ObjectSet wanted_, owned_;  // commits: reached from the wants, from the haves
  ObjectSet queued_;
  std::priority_queue<std::pair<std::uint64_t, ObjectNumber>> queue_;
  std::uint64_t wanted_only_ = 0;  // of those in the queue
  // Tags, trees and blobs that were named themselves.
  std::vector<ObjectNumber> owned_tips_;  // commits
  std::vector<ObjectNumber> wanted_tags_, owned_tags_, wanted_trees_, owned_trees_;
  Reachability::Commit commit_;
};

io::Result<std::vector<ObjectNumber>> Painting::parents_of(ObjectNumber commit, bool whole) {
  std::vector<ObjectNumber> parents;
  if (!whole && cut_.contains(commit)) return parents;
  const io::Result<void> read = reach_.read_commit(commit, commit_);
  if (!read) return std::unexpected(read.error());
  const std::vector<ObjectId> ids = commit_.parents;
  for (const ObjectId& id : ids) {
    const io::Result<ObjectNumber> number = reach_.number_of(id);
    if (!number) return std::unexpected(number.error());
    parents.push_back(*number);
  }
  return parents;
}

// Gives a commit a color it lacks, and queues it so that its parents get it too.
io::Result<void> Painting::color(ObjectNumber commit, bool owned) {
  ObjectSet& set = owned ? owned_ : wanted_;
  const bool was_owned = owned_.contains(commit);
  if (!set.insert(commit)) return {};
  const bool waiting = queued_.contains(commit);
  if (waiting) {
    if (owned && wanted_.contains(commit)) --wanted_only_;
    return {};
  }
  if (!owned && was_owned) return {};  // its ancestors are the client's: nothing to send
  const io::Result<void> read = reach_.read_commit(commit, commit_);
  if (!read) return read;
  queued_.add(commit);
  if (!owned) ++wanted_only_;
  queue_.emplace(commit_.date_s, commit);
  return {};
}

io::Result<void> Painting::start(std::span<const ObjectNumber> tips, bool owned) {
  unsigned steps = 0;
  for (const ObjectNumber tip : tips) {
    if (limits_.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
    std::vector<ObjectNumber>& tags = owned ? owned_tags_ : wanted_tags_;
    const io::Result<ObjectNumber> target =
        reach_.peel(tip, [&tags](ObjectNumber tag) { tags.push_back(tag); });
    if (!target) return std::unexpected(target.error());
    const io::Result<ObjectType> type = store_.type(*target);
    if (!type) return std::unexpected(type.error());
    if (*type != ObjectType::commit) {
      (owned ? owned_trees_ : wanted_trees_).push_back(*target);
      continue;
    }
    const io::Result<void> colored = color(*target, owned);
    if (!colored) return colored;
    if (owned) owned_tips_.push_back(*target);
  }
  return {};
}

io::Result<void> Painting::spread() {
  unsigned steps = 0;
  while (wanted_only_ > 0) {
    const ObjectNumber commit = queue_.top().second;
    queue_.pop();
    queued_.remove(commit);
    const bool owned = owned_.contains(commit);
    if (!owned) --wanted_only_;
    if (limits_.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
    const io::Result<std::vector<ObjectNumber>> parents = parents_of(commit);
    if (!parents) return std::unexpected(parents.error());
    for (const ObjectNumber parent : *parents) {
      const io::Result<void> colored = color(parent, owned);
      if (!colored) return colored;
    }
  }
  return {};
}

// As upload-pack.c's ok_to_give_up(): wants that are no commits say nothing either way, and shallow
// commits have their parents. Each commit is looked at once, whatever is wanted.
io::Result<bool> Painting::meet_owned(std::span<const ObjectNumber> wants) {
  struct Step {
    ObjectNumber commit;
    std::vector<ObjectNumber> parents;  // not looked at yet
  };
  ObjectSet meets = owned_;
  ObjectSet seen = store_.empty_set();
  std::vector<Step> path;
  const auto step_to = [&](ObjectNumber commit) -> io::Result<void> {
    seen.add(commit);
    io::Result<std::vector<ObjectNumber>> parents = parents_of(commit, true);
    if (!parents) return std::unexpected(parents.error());
    path.push_back({commit, std::move(*parents)});
    return {};
  };
  unsigned steps = 0;
  for (const ObjectNumber want : wants) {
    const io::Result<ObjectNumber> tip = reach_.peel(want);
    if (!tip) return std::unexpected(tip.error());
    if (!wanted_.contains(*tip) || meets.contains(*tip)) continue;  // no commit, or proved
    io::Result<void> stepped = step_to(*tip);
    while (stepped && !path.empty() && !meets.contains(*tip)) {
      if (limits_.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
      std::vector<ObjectNumber>& parents = path.back().parents;
      if (parents.empty()) {  // nothing behind it meets
        path.pop_back();
        continue;
      }
      const ObjectNumber parent = parents.back();
      parents.pop_back();
      if (meets.contains(parent)) {
        for (const Step& step : path) meets.add(step.commit);
      } else if (!seen.contains(parent)) {
        stepped = step_to(parent);
      }
    }
    if (!stepped) return std::unexpected(stepped.error());
    if (!meets.contains(*tip)) return false;
    path.clear();
  }
  return true;
}

io::Result<void> Painting::newest_first(std::vector<ObjectNumber>& commits) {
  std::vector<std::pair<std::uint64_t, ObjectNumber>> dated;
  for (const ObjectNumber commit : commits) {
    const io::Result<void> read = reach_.read_commit(commit, commit_);
    if (!read) return read;
    dated.emplace_back(commit_.date_s, commit);
  }
  std::ranges::sort(dated, std::greater());
  std::ranges::transform(dated, commits.begin(), [](const auto& pair) { return pair.second; });
  return {};
}

// The newest commits of the edge are the likest to what is new.
io::Result<void> Painting::look_at_edge(std::vector<ObjectNumber> edge, PathHints& hints) {
  const io::Result<void> sorted = newest_first(edge);
  if (!sorted) return sorted;
  for (const ObjectNumber commit : edge | std::views::take(kEdgesLookedAt)) {
    const io::Result<void> read = reach_.read_commit(commit, commit_);
    if (!read) return read;
    const io::Result<ObjectNumber> tree = reach_.number_of(commit_.tree);
    if (!tree) return std::unexpected(tree.error());
    const io::Result<void> looked = hints.look_at_client(store_, *tree);
    if (!looked) return looked;
  }
  return {};
}

io::Result<Difference> Painting::paint(std::span<const ObjectNumber> wants, std::size_t asked,
                                       std::span<const ObjectNumber> haves, PathHints* hints) {
  io::Result<void> done = start(haves, true);
  if (done) done = start(wants, false);
  if (done) done = spread();
  if (!done) return std::unexpected(done.error());

  Difference difference{.lacking = store_.empty_set(), .client_has = owned_, .edge = {}};
  if (!owned_.empty()) {
    const io::Result<bool> ready = meet_owned(wants.first(asked));
    if (!ready) return std::unexpected(ready.error());
    difference.ready = *ready;
  }
  ObjectSet commits = wanted_;
  commits.subtract(owned_);
  std::vector<ObjectNumber> fresh;
  ObjectSet on_edge = store_.empty_set();
  commits.for_each([&fresh](ObjectNumber commit) { fresh.push_back(commit); });
  for (const ObjectNumber commit : fresh) {
    const io::Result<std::vector<ObjectNumber>> parents = parents_of(commit);
    if (!parents) return std::unexpected(parents.error());
    for (const ObjectNumber parent : *parents) {
      if (owned_.contains(parent) && on_edge.insert(parent)) difference.edge.push_back(parent);
    }
  }
  if (!cut_.words().empty()) {  // where histories are cut the wants may stand upon nothing
    done = newest_first(owned_tips_);
    if (!done) return std::unexpected(done.error());
    for (const ObjectNumber tip : owned_tips_ | std::views::take(kShallowTipsMax)) {
      if (on_edge.insert(tip)) difference.edge.push_back(tip);
    }
  }
  done = reach_.add_snapshots(difference.edge, difference.client_has, limits_);
  if (!done) return std::unexpected(done.error());
  for (const ObjectNumber tag : owned_tags_) difference.client_has.add(tag);
  const io::Result<ObjectSet> owned_others = reach_.closure(owned_trees_, limits_);
  if (!owned_others) return std::unexpected(owned_others.error());
  difference.client_has |= *owned_others;

  ObjectSet& lacking = difference.lacking;
  lacking = difference.client_has;
  for (const ObjectNumber commit : fresh) lacking.add(commit);
  done = reach_.add_snapshots(fresh, lacking, limits_, hints);
  if (done && hints != nullptr) done = look_at_edge(difference.edge, *hints);
  if (!done) return std::unexpected(done.error());
  for (const ObjectNumber tag : wanted_tags_) lacking.add(tag);
  const io::Result<ObjectSet> wanted_others = reach_.closure(wanted_trees_, limits_);
  if (!wanted_others) return std::unexpected(wanted_others.error());
  lacking |= *wanted_others;
  lacking.subtract(difference.client_has);
  return difference;
}

}  // namespace

io::Result<Difference> fetch_difference(ObjectStore& store, Reachability& reach,
                                        std::span<const ObjectNumber> wants, std::size_t asked,
                                        std::span<const ObjectNumber> haves, const ObjectSet& cut,
                                        const WalkLimits& limits, PathHints* hints) {
  return Painting(store, reach, cut, limits).paint(wants, asked, haves, hints);
}

}  // namespace weir::git
