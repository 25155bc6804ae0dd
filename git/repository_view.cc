#include "git/repository_view.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <unordered_set>
#include <utility>

#include "git/fetch_difference.h"
#include "git/object_set.h"
#include "git/object_store.h"
#include "git/object_text.h"
#include "git/pack_layout.h"
#include "git/path_hints.h"
#include "git/reachability.h"
#include "git/shallow_boundary.h"
#include "git/visible_commits.h"

namespace weir::git {
namespace {

constexpr std::size_t kVisibleSetsMax = 2;  // the refs as they are, and as they were
constexpr unsigned kTagChainMax = 64;
constexpr unsigned kExtraPercentMax = 12;
constexpr std::uint64_t kFastSearchBytesMax = 8UL * 1024 * 1024;
constexpr std::uint64_t kFastComparedBytesMax = 64UL * 1024 * 1024;

struct VisibleSet {
  std::string digest;
  std::vector<ObjectNumber> tips;  // sorted
  ObjectSet objects;
  bool complete = false;  // every tip was found
};

struct SeenCommits {
  std::string digest;
  VisibleCommits commits;
};

// What an answer is made of, before it is decided how each object is sent.
struct Selection {
  ObjectSet objects;
  std::optional<ObjectSet> client_has;
  std::optional<PathHints> hints;  // where deltas are to be searched
};

bool is_blob_limit(const ObjectFilter& filter) {
  return filter.blob_bytes_limit != ~std::uint64_t{0};
}

}  // namespace

struct RepositoryView::Impl {
  std::vector<MappedRepositoryFile> files;
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<Reachability> reach;
  ReencodeStore reencoded;
  std::vector<VisibleSet> visible_sets;  // the last used in front
  std::vector<SeenCommits> seen_commits;

  std::vector<ObjectNumber> known_tips(const VisibleTips& visible, bool& complete) const;
  io::Result<const VisibleSet*> visible_set(const VisibleTips& visible, const WalkLimits& limits);
  io::Result<bool> extend_last(VisibleSet& set, const WalkLimits& limits);
  io::Result<std::vector<ObjectNumber>> common_commits(std::span<const ObjectId> haves,
                                                       const VisibleTips& visible,
                                                       const WalkLimits& limits);
  bool visible_set_is_cheap(const VisibleTips& visible) const;
  io::Result<ObjectSet> select_all(const PlanRequest& request, const VisibleTips& visible,
                                   std::span<const ObjectNumber> wants, const WalkLimits& limits);
  // nullopt: the haves do not say enough yet; the reply says what they do say.
  io::Result<std::optional<Selection>> select(const PlanRequest& request,
                                              const VisibleTips& visible,
                                              std::span<const ObjectNumber> wants,
                                              const WalkLimits& limits, PlanReply& reply);
  // Fills in what becomes shallow and what does not stay so; adds to wants, haves and cut what
  // follows from it.
  io::Result<void> move_boundary(const PlanRequest& request, const VisibleTips& visible,
                                 const WalkLimits& limits, std::vector<ObjectNumber>& wants,
                                 std::vector<ObjectNumber>& haves, ObjectSet& cut,
                                 PlanReply& reply);
  io::Result<const VisibleCommits*> visible_commits(const VisibleTips& visible,
                                                    std::uint64_t back_to_s,
                                                    const WalkLimits& limits);
  io::Result<void> add_tags(const VisibleTips& visible, ObjectSet& objects,
                            const WalkLimits& limits);
  io::Result<void> leave_out(const ObjectFilter& filter, std::span<const ObjectNumber> wants,
                             ObjectSet& objects) const;
  io::Result<void> plan(const PlanRequest& request, const VisibleTips& visible, PlanReply& reply);
};

std::vector<ObjectNumber> RepositoryView::Impl::known_tips(const VisibleTips& visible,
                                                           bool& complete) const {
  std::vector<ObjectNumber> tips;
  for (const ObjectId& id : visible.tips) {
    const std::optional<ObjectNumber> number = store->find(id);
    if (number) {
      tips.push_back(*number);
    } else {
      complete = false;
    }
  }
  std::ranges::sort(tips);
  return tips;
}

// Most changes of refs only add: then the last set grows by what the new tips reach. Not if a tip
// went that none of the new ones stands upon.
io::Result<bool> RepositoryView::Impl::extend_last(VisibleSet& set, const WalkLimits& limits) {
  if (visible_sets.empty()) return false;
  const VisibleSet& last = visible_sets.front();
  std::vector<ObjectNumber> fresh, gone;
  std::ranges::set_difference(set.tips, last.tips, std::back_inserter(fresh));
  std::ranges::set_difference(last.tips, set.tips, std::back_inserter(gone));
  set.objects = last.objects;
  ObjectSet met = store->empty_set();
  const io::Result<void> walked = reach->extend(set.objects, fresh, met, limits);
  if (!walked) return std::unexpected(walked.error());
  return std::ranges::all_of(gone, [&met](ObjectNumber tip) { return met.contains(tip); });
}

// What all visible refs reach.
io::Result<const VisibleSet*> RepositoryView::Impl::visible_set(const VisibleTips& visible,
                                                                const WalkLimits& limits) {
  const auto found = std::ranges::find(visible_sets, visible.digest, &VisibleSet::digest);
  if (found != visible_sets.end()) {
    std::rotate(visible_sets.begin(), found, found + 1);
    return &visible_sets.front();
  }
  VisibleSet set{.digest = visible.digest, .tips = {}, .objects = {}, .complete = true};
  set.tips = known_tips(visible, set.complete);
  const io::Result<bool> extended = extend_last(set, limits);
  if (!extended) return std::unexpected(extended.error());
  if (!*extended) {
    io::Result<ObjectSet> objects = reach->closure(set.tips, limits);
    if (!objects) return std::unexpected(objects.error());
    set.objects = std::move(*objects);
  }
  if (visible_sets.size() == kVisibleSetsMax) visible_sets.pop_back();
  visible_sets.insert(visible_sets.begin(), std::move(set));
  return &visible_sets.front();
}

// Annotated tags whose target is sent go along, with the tags between (pack-objects.c's
// add_ref_tag).
io::Result<void> RepositoryView::Impl::add_tags(const VisibleTips& visible, ObjectSet& objects,
                                                const WalkLimits& limits) {
  unsigned steps = 0;
  for (const auto& [id, peeled] : visible.tags) {
    if (limits.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
    const std::optional<ObjectNumber> target = store->find(peeled);
    std::optional<ObjectNumber> tag = store->find(id);
    if (!target || !tag || !objects.contains(*target)) continue;
    for (unsigned i = 0; tag && i < kTagChainMax && objects.insert(*tag); ++i) {
      const io::Result<ObjectContent> content = store->read(*tag);
      if (!content) return std::unexpected(content.error());
      if (content->type != ObjectType::tag) break;
      const io::Result<TagText> text = parse_tag(content->span(), store->format());
      if (!text) return std::unexpected(text.error());
      if (text->type != ObjectType::tag) break;
      tag = store->find(text->target);
    }
  }
  return {};
}

// Objects that were asked for by name are sent whatever the filter says.
io::Result<void> RepositoryView::Impl::leave_out(const ObjectFilter& filter,
                                                 std::span<const ObjectNumber> wants,
                                                 ObjectSet& objects) const {
  ObjectSet out = store->empty_set();
  io::Result<void> looked;
  objects.for_each([&](ObjectNumber number) {
    if (!looked) return;
    const io::Result<ObjectType> type = store->type(number);
    if (!type) {
      looked = std::unexpected(type.error());
      return;
    }
    bool drop = filter.types != 0 && (filter.types >> static_cast<unsigned>(*type) & 1) == 0;
    if (filter.tree_depth_limit == 0) {
      drop |= *type == ObjectType::tree || *type == ObjectType::blob;
    }
    if (*type == ObjectType::blob) {
      drop |= filter.no_blobs;
      if (!drop && is_blob_limit(filter)) {
        const io::Result<std::uint64_t> size = store->size(number);
        if (!size) {
          looked = std::unexpected(size.error());
          return;
        }
        drop = *size >= filter.blob_bytes_limit;
      }
    }
    if (drop) out.add(number);
  });
  if (!looked) return looked;
  for (const ObjectNumber want : wants) out.remove(want);
  objects.subtract(out);
  return {};
}

io::Result<const VisibleCommits*> RepositoryView::Impl::visible_commits(const VisibleTips& visible,
                                                                        std::uint64_t back_to_s,
                                                                        const WalkLimits& limits) {
  auto seen = std::ranges::find(seen_commits, visible.digest, &SeenCommits::digest);
  if (seen == seen_commits.end()) {
    bool complete = true;
    io::Result<VisibleCommits> commits =
        VisibleCommits::start(*store, *reach, known_tips(visible, complete), limits);
    if (!commits) return std::unexpected(commits.error());
    if (seen_commits.size() == kVisibleSetsMax) seen_commits.erase(seen_commits.begin());
    seen_commits.push_back({visible.digest, std::move(*commits)});
    seen = seen_commits.end() - 1;
  }
  const io::Result<void> walked = seen->commits.know_back_to(back_to_s, limits);
  if (!walked) return std::unexpected(walked.error());
  return &seen->commits;
}

// Which of the haves are commits that may be seen.
io::Result<std::vector<ObjectNumber>> RepositoryView::Impl::common_commits(
    std::span<const ObjectId> haves, const VisibleTips& visible, const WalkLimits& limits) {
  std::vector<std::pair<std::uint64_t, ObjectNumber>> known;
  std::uint64_t oldest_s = ~std::uint64_t{0};
  Reachability::Commit commit;
  unsigned steps = 0;
  for (const ObjectId& id : haves) {
    if (limits.over(steps)) return io::fail(io::Errc::limit, "time of a walk");
    const std::optional<ObjectNumber> number = store->find(id);
    if (!number) continue;
    const io::Result<ObjectType> type = store->type(*number);
    if (!type) return std::unexpected(type.error());
    if (*type != ObjectType::commit) continue;
    const io::Result<void> read = reach->read_commit(*number, commit);
    if (!read) return std::unexpected(read.error());
    oldest_s = std::min(oldest_s, commit.date_s);
    known.emplace_back(commit.date_s, *number);
  }
  std::vector<ObjectNumber> common;
  if (known.empty()) return common;
  const io::Result<const VisibleCommits*> seen = visible_commits(visible, oldest_s, limits);
  if (!seen) return std::unexpected(seen.error());
  for (const auto& [date_s, number] : known) {
    if ((*seen)->contains(number)) common.push_back(number);
  }
  return common;
}

bool RepositoryView::Impl::visible_set_is_cheap(const VisibleTips& visible) const {
  return reach->has_bitmap() ||
         std::ranges::find(visible_sets, visible.digest, &VisibleSet::digest) != visible_sets.end();
}

io::Result<std::optional<Selection>> RepositoryView::Impl::select(
    const PlanRequest& request, const VisibleTips& visible, std::span<const ObjectNumber> wants,
    const WalkLimits& limits, PlanReply& reply) {
  io::Result<std::vector<ObjectNumber>> common = common_commits(request.haves, visible, limits);
  if (!common) return std::unexpected(common.error());
  for (const ObjectNumber number : *common) reply.common.push_back(store->id(number));
  const bool shallow = request.depth != 0 || !request.shallows.empty();
  if (common->empty()) {
    if (!request.done && !request.haves.empty()) return std::nullopt;
    if (!shallow) {
      io::Result<ObjectSet> objects = select_all(request, visible, wants, limits);
      if (!objects) return std::unexpected(objects.error());
      return Selection{std::move(*objects), std::nullopt, std::nullopt};
    }
  }
  std::vector<ObjectNumber> all_wants(wants.begin(), wants.end());
  ObjectSet cut = shallow ? store->empty_set() : ObjectSet();
  if (shallow) {
    const io::Result<void> moved =
        move_boundary(request, visible, limits, all_wants, *common, cut, reply);
    if (!moved) return std::unexpected(moved.error());
  }
  std::optional<PathHints> hints;
  if (!common->empty() && request.filter.none() && request.level <= PlanLevel::fast) {
    hints.emplace();
  }
  io::Result<Difference> difference = fetch_difference(
      *store, *reach, all_wants, wants.size(), *common, cut, limits, hints ? &*hints : nullptr);
  if (!difference) return std::unexpected(difference.error());
  reply.ready = difference->ready;
  if (!request.done && !request.haves.empty() && (!reply.ready || request.wait_for_done)) {
    return std::nullopt;
  }
  Selection selection{std::move(difference->lacking), std::nullopt, std::move(hints)};
  if (!common->empty()) selection.client_has = std::move(difference->client_has);
  return selection;
}

// upload-pack.c's deepen() and send_unshallow().
io::Result<void> RepositoryView::Impl::move_boundary(const PlanRequest& request,
                                                     const VisibleTips& visible,
                                                     const WalkLimits& limits,
                                                     std::vector<ObjectNumber>& wants,
                                                     std::vector<ObjectNumber>& haves,
                                                     ObjectSet& cut, PlanReply& reply) {
  std::vector<ObjectNumber> client_shallow;
  for (const ObjectId& id : request.shallows) {
    const std::optional<ObjectNumber> number = store->find(id);
    if (!number) continue;
    const io::Result<ObjectType> type = store->type(*number);
    if (!type) return std::unexpected(type.error());
    if (*type == ObjectType::commit) client_shallow.push_back(*number);
  }
  for (const ObjectNumber number : client_shallow) cut.add(number);
  if (request.depth == 0) return {};
  std::vector<ObjectNumber> no_longer;
  if (request.depth == kWholeHistory) {
    const io::Result<const VisibleCommits*> seen = visible_commits(visible, 0, limits);
    if (!seen) return std::unexpected(seen.error());
    for (const ObjectNumber number : client_shallow) {
      if ((*seen)->contains(number)) no_longer.push_back(number);
    }
  } else {
    const io::Result<ShallowBoundary> boundary =
        shallow_boundary(*store, *reach, wants, request.depth, limits);
    if (!boundary) return std::unexpected(boundary.error());
    if (boundary->shallow.size() > kPlanShallowMax) {
      return io::fail(io::Errc::limit, "shallow commits");
    }
    for (const ObjectNumber number : boundary->shallow) {
      if (!cut.contains(number)) reply.shallow.push_back(store->id(number));
      cut.add(number);
    }
    for (const ObjectNumber number : client_shallow) {
      if (boundary->nearer.contains(number)) no_longer.push_back(number);
    }
  }
  Reachability::Commit commit;
  for (const ObjectNumber number : no_longer) {
    reply.unshallow.push_back(store->id(number));
    haves.push_back(number);  // it has the commit itself
    const io::Result<void> read = reach->read_commit(number, commit);
    if (!read) return read;
    for (const ObjectId& id : commit.parents) {
      const io::Result<ObjectNumber> parent = reach->number_of(id);
      if (!parent) return std::unexpected(parent.error());
      wants.push_back(*parent);
    }
  }
  return {};
}

io::Result<ObjectSet> RepositoryView::Impl::select_all(const PlanRequest& request,
                                                       const VisibleTips& visible,
                                                       std::span<const ObjectNumber> wants,
                                                       const WalkLimits& limits) {
  // A clone of everything is the visible set, which is kept.
  std::unordered_set<ObjectId, ObjectIdHash> asked(request.wants.begin(), request.wants.end());
  const bool everything = std::ranges::all_of(
      visible.tips, [&asked](const ObjectId& tip) { return asked.contains(tip); });
  if (everything) {
    const io::Result<const VisibleSet*> set = visible_set(visible, limits);
    if (!set) return std::unexpected(set.error());
    const bool whole = (*set)->complete && std::ranges::all_of(wants, [&](ObjectNumber want) {
                         return (*set)->objects.contains(want);
                       });
    if (whole) return (*set)->objects;
  }
  return reach->closure(wants, limits);
}

io::Result<void> RepositoryView::Impl::plan(const PlanRequest& request, const VisibleTips& visible,
                                            PlanReply& reply) {
  const auto began = std::chrono::steady_clock::now();
  WalkLimits limits;
  if (request.time_ms_max != 0) {
    const auto end = began + std::chrono::milliseconds(request.time_ms_max);
    limits.expired = [end] { return std::chrono::steady_clock::now() > end; };
  }
  reach->begin_plan();
  std::vector<ObjectNumber> wants;
  for (const ObjectId& id : request.wants) {
    const io::Result<ObjectNumber> number = reach->number_of(id);
    if (!number) return std::unexpected(number.error());
    wants.push_back(*number);
  }
  io::Result<std::optional<Selection>> selected = select(request, visible, wants, limits, reply);
  if (!selected) return std::unexpected(selected.error());
  if (!*selected) {
    reply.status = PlanStatus::negotiating;
    return {};
  }
  Selection& selection = **selected;
  LayoutOptions options;
  options.ofs_delta = request.ofs_delta;
  options.extra_percent_max = kExtraPercentMax;
  options.expired = limits.expired;
  if (request.filter.none()) {
    // A client that leaves blobs out may lack any it seems to have.
    if (request.thin_pack && selection.client_has) options.client_has = &*selection.client_has;
    // What is new to a client is small, and its deltas are searched for: no walk of all is worth
    // it.
    if (!selection.client_has && (request.depth == 0 || visible_set_is_cheap(visible))) {
      options.visible = [&]() -> io::Result<const ObjectSet*> {
        const io::Result<const VisibleSet*> set = visible_set(visible, limits);
        if (!set) return std::unexpected(set.error());
        return &(*set)->objects;
      };
    }
  } else {
    const io::Result<void> left = leave_out(request.filter, wants, selection.objects);
    if (!left) return left;
  }
  // After the filter, as git does: tags go with what is sent, whatever their own type.
  if (request.include_tag) {
    const io::Result<void> added = add_tags(visible, selection.objects, limits);
    if (!added) return added;
  }
  if (selection.hints) {
    options.hints = &*selection.hints;
    options.search.expired = limits.expired;
    if (request.level != PlanLevel::best) {
      options.search.answer_bytes_max = kFastSearchBytesMax;
      options.search.compared_bytes_max = kFastComparedBytesMax;
    }
  }
  PackLayout layout(*store, reencoded, std::move(options));
  io::Result<Recipe> recipe = layout.make(std::move(selection.objects));
  if (!recipe) return std::unexpected(recipe.error());
  reply.recipe = std::move(*recipe);
  reply.status = PlanStatus::planned;
  return {};
}

RepositoryView::RepositoryView(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RepositoryView::~RepositoryView() = default;

io::Result<std::unique_ptr<RepositoryView>> RepositoryView::open(
    std::vector<MappedRepositoryFile> files, ObjectFormat format) {
  auto impl = std::make_unique<Impl>();
  impl->files = std::move(files);
  io::Result<std::unique_ptr<ObjectStore>> store = ObjectStore::open(impl->files, format);
  if (!store) return std::unexpected(store.error());
  impl->store = std::move(*store);
  io::Result<std::unique_ptr<Reachability>> reach = Reachability::open(impl->files, *impl->store);
  if (!reach) return std::unexpected(reach.error());
  impl->reach = std::move(*reach);
  return std::unique_ptr<RepositoryView>(new RepositoryView(std::move(impl)));
}

PlanReply RepositoryView::plan(const PlanRequest& request, const VisibleTips& visible) {
  PlanReply reply;
  const auto fall_back = [&reply](FallbackReason reason) {
    reply.status = PlanStatus::fallback;
    reply.reason = reason;
  };
  if (request.filter.tree_depth_limit != 0 &&
      request.filter.tree_depth_limit != ~std::uint64_t{0}) {
    fall_back(FallbackReason::filter);
    return reply;
  }
  const io::Result<void> planned = impl_->plan(request, visible, reply);
  if (planned) return reply;
  reply.shallow.clear();
  reply.unshallow.clear();
  reply.common.clear();
  reply.ready = false;
  reply.problem = io::to_string(planned.error());
  switch (planned.error().code) {
    case io::Errc::not_found:
      reply.status = PlanStatus::missing;
      reply.problem += " " + impl_->reach->missing().to_hex();
      break;
    case io::Errc::limit:
      fall_back(FallbackReason::budget);
      break;
    default:
      fall_back(FallbackReason::corrupt);
      break;
  }
  return reply;
}

}  // namespace weir::git
