#include "git/repository_view.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <unordered_set>
#include <utility>

#include "git/object_set.h"
#include "git/object_store.h"
#include "git/object_text.h"
#include "git/pack_layout.h"
#include "git/reachability.h"

namespace weir::git {
namespace {

constexpr std::size_t kVisibleSetsMax = 2;  // the refs as they are, and as they were
constexpr unsigned kTagChainMax = 64;
constexpr unsigned kExtraPercentMax = 12;

struct VisibleSet {
  std::string digest;
  ObjectSet objects;
  bool complete = false;  // every tip was found
};

bool is_blob_limit(const ObjectFilter& filter) {
  return filter.blob_bytes_limit != ~std::uint64_t{0};
}

}  // namespace

std::string_view reason_name(FallbackReason reason) {
  switch (reason) {
    case FallbackReason::none:
      return "none";
    case FallbackReason::filter:
      return "filter";
    case FallbackReason::shallow:
      return "shallow";
    case FallbackReason::negotiation:
      return "negotiation";
    case FallbackReason::repository:
      return "repository";
    case FallbackReason::layout:
      return "layout";
    case FallbackReason::corrupt:
      return "corrupt";
    case FallbackReason::budget:
      return "budget";
    case FallbackReason::planner:
      return "planner";
  }
  return "";
}

struct RepositoryView::Impl {
  std::vector<MappedRepositoryFile> files;
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<Reachability> reach;
  ReencodeStore reencoded;
  std::vector<VisibleSet> visible_sets;  // the last used in front

  io::Result<const VisibleSet*> visible_set(const VisibleTips& visible, const WalkLimits& limits);
  io::Result<ObjectSet> select(const PlanRequest& request, const VisibleTips& visible,
                               std::span<const ObjectNumber> wants, const WalkLimits& limits,
                               PlanReply& reply);
  io::Result<ObjectSet> shallow_closure(std::span<const ObjectNumber> wants, std::uint32_t depth,
                                        const WalkLimits& limits, PlanReply& reply);
  io::Result<void> add_tags(const VisibleTips& visible, ObjectSet& objects);
  io::Result<void> leave_out(const ObjectFilter& filter, std::span<const ObjectNumber> wants,
                             ObjectSet& objects) const;
  io::Result<void> plan(const PlanRequest& request, const VisibleTips& visible, PlanReply& reply);
};

// What all visible refs reach.
io::Result<const VisibleSet*> RepositoryView::Impl::visible_set(const VisibleTips& visible,
                                                                const WalkLimits& limits) {
  const auto found = std::ranges::find(visible_sets, visible.digest, &VisibleSet::digest);
  if (found != visible_sets.end()) {
    std::rotate(visible_sets.begin(), found, found + 1);
    return &visible_sets.front();
  }
  VisibleSet set{.digest = visible.digest, .objects = {}, .complete = true};
  std::vector<ObjectNumber> tips;
  for (const ObjectId& id : visible.tips) {
    const std::optional<ObjectNumber> number = store->find(id);
    if (number) {
      tips.push_back(*number);
    } else {
      set.complete = false;
    }
  }
  io::Result<ObjectSet> objects = reach->closure(tips, limits);
  if (!objects) return std::unexpected(objects.error());
  set.objects = std::move(*objects);
  if (visible_sets.size() == kVisibleSetsMax) visible_sets.pop_back();
  visible_sets.insert(visible_sets.begin(), std::move(set));
  return &visible_sets.front();
}

// Commits at a distance below `depth` from the wants, with all they hold (upload-pack.c's
// get_shallow_commits: those at the last step are shallow, whether they have parents or not).
io::Result<ObjectSet> RepositoryView::Impl::shallow_closure(std::span<const ObjectNumber> wants,
                                                            std::uint32_t depth,
                                                            const WalkLimits& limits,
                                                            PlanReply& reply) {
  ObjectSet commits = store->empty_set();
  ObjectSet objects = store->empty_set();
  std::vector<ObjectNumber> step, others, all;
  for (ObjectNumber number : wants) {
    for (unsigned tags = 0;; ++tags) {
      const io::Result<ObjectType> type = store->type(number);
      if (!type) return std::unexpected(type.error());
      if (*type == ObjectType::commit) {
        if (commits.insert(number)) step.push_back(number);
        break;
      }
      if (*type != ObjectType::tag || tags == kTagChainMax) {
        others.push_back(number);
        break;
      }
      objects.add(number);
      const io::Result<ObjectContent> content = store->read(number);
      if (!content) return std::unexpected(content.error());
      const io::Result<TagText> tag = parse_tag(content->span(), store->format());
      if (!tag) return std::unexpected(tag.error());
      const io::Result<ObjectNumber> target = reach->number_of(tag->target);
      if (!target) return std::unexpected(target.error());
      number = *target;
    }
  }
  Reachability::Commit commit;
  for (std::uint32_t distance = 1; !step.empty(); ++distance) {
    all.insert(all.end(), step.begin(), step.end());
    if (limits.expired && limits.expired()) return io::fail(io::Errc::limit, "time of a walk");
    if (distance >= depth) {
      for (const ObjectNumber number : step) reply.shallow.push_back(store->id(number));
      break;
    }
    std::vector<ObjectNumber> next;
    for (const ObjectNumber number : step) {
      const io::Result<void> read = reach->read_commit(number, commit);
      if (!read) return std::unexpected(read.error());
      for (const ObjectId& id : commit.parents) {
        const io::Result<ObjectNumber> parent = reach->number_of(id);
        if (!parent) return std::unexpected(parent.error());
        if (commits.insert(*parent)) next.push_back(*parent);
      }
    }
    step = std::move(next);
  }
  objects |= commits;
  const io::Result<void> added = reach->add_snapshots(all, objects, limits);
  if (!added) return std::unexpected(added.error());
  if (!others.empty()) {
    const io::Result<ObjectSet> rest = reach->closure(others, limits);
    if (!rest) return std::unexpected(rest.error());
    objects |= *rest;
  }
  return objects;
}

// Annotated tags whose target is sent go along, with the tags between (pack-objects.c's
// add_ref_tag).
io::Result<void> RepositoryView::Impl::add_tags(const VisibleTips& visible, ObjectSet& objects) {
  for (const auto& [id, peeled] : visible.tags) {
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

io::Result<ObjectSet> RepositoryView::Impl::select(const PlanRequest& request,
                                                   const VisibleTips& visible,
                                                   std::span<const ObjectNumber> wants,
                                                   const WalkLimits& limits, PlanReply& reply) {
  if (request.depth != 0) return shallow_closure(wants, request.depth, limits, reply);
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
  std::vector<ObjectNumber> wants;
  for (const ObjectId& id : request.wants) {
    const io::Result<ObjectNumber> number = reach->number_of(id);
    if (!number) return std::unexpected(number.error());
    wants.push_back(*number);
  }
  io::Result<ObjectSet> objects = select(request, visible, wants, limits, reply);
  if (!objects) return std::unexpected(objects.error());
  if (request.include_tag) {
    const io::Result<void> added = add_tags(visible, *objects);
    if (!added) return added;
  }
  if (!request.filter.none()) {
    const io::Result<void> left = leave_out(request.filter, wants, *objects);
    if (!left) return left;
  }
  LayoutOptions options;
  options.ofs_delta = request.ofs_delta;
  options.extra_percent_max = kExtraPercentMax;
  if (request.filter.none()) {
    options.visible = [&]() -> io::Result<const ObjectSet*> {
      const io::Result<const VisibleSet*> set = visible_set(visible, limits);
      if (!set) return std::unexpected(set.error());
      return &(*set)->objects;
    };
  }
  PackLayout layout(*store, reencoded, std::move(options));
  io::Result<Recipe> recipe = layout.make(std::move(*objects));
  if (!recipe) return std::unexpected(recipe.error());
  reply.recipe = std::move(*recipe);
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
  if (!request.haves.empty()) {
    fall_back(FallbackReason::negotiation);
    return reply;
  }
  if (!request.shallows.empty()) {
    fall_back(FallbackReason::shallow);
    return reply;
  }
  if (request.filter.tree_depth_limit != 0 &&
      request.filter.tree_depth_limit != ~std::uint64_t{0}) {
    fall_back(FallbackReason::filter);
    return reply;
  }
  const io::Result<void> planned = impl_->plan(request, visible, reply);
  if (planned) {
    reply.status = PlanStatus::planned;
    return reply;
  }
  reply.shallow.clear();
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
