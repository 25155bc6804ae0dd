#include "git/worker_repository.h"

#include <dirent.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "git/ref_name.h"
#include "git/worker_config.h"

namespace weir::git {
namespace {

constexpr int kTagDepthMax = 1024;  // tags of tags; deeper ones peel to nothing
constexpr std::size_t kListedRefsMax = 4'000'000;

WorkerStatus status_of(io::Errc code) {
  switch (code) {
    case io::Errc::not_found:
      return WorkerStatus::not_found;
    case io::Errc::corrupt:
      return WorkerStatus::corrupt;
    case io::Errc::limit:
      return WorkerStatus::limit;
    case io::Errc::deadline_exceeded:
      return WorkerStatus::late;
    default:
      return WorkerStatus::unavailable;
  }
}

std::string revisions(const std::vector<ObjectId>& wants, const std::vector<ObjectId>& tips) {
  std::string text;
  text.reserve((wants.size() + tips.size()) * 66);
  for (const ObjectId& id : wants) text += id.to_hex() + "\n";
  for (const ObjectId& id : tips) text += "^" + id.to_hex() + "\n";
  return text;
}

bool has_bitmap(const std::string& common_dir) {
  DIR* const dir = ::opendir((common_dir + "/objects/pack").c_str());
  if (dir == nullptr) return false;
  bool found = false;
  while (const dirent* entry = ::readdir(dir)) {
    found = found || std::string_view(entry->d_name).ends_with(".bitmap");
  }
  ::closedir(dir);
  return found;
}

bool contains(const std::vector<ObjectId>& sorted, const ObjectId& id) {
  return std::ranges::binary_search(sorted, id);
}

// Where each id stands in `ids`; clients name so many that looking through them would take minutes.
using IdPlaces = std::unordered_map<ObjectId, std::size_t, ObjectIdHash>;
IdPlaces places_of(const std::vector<ObjectId>& ids) {
  IdPlaces places;
  for (std::size_t i = 0; i < ids.size(); ++i) places.emplace(ids[i], i);
  return places;
}

using KnownTags = std::unordered_map<ObjectId, ObjectFacts, ObjectIdHash>;
// What a tag points at in the end; null if it is none, or its chain is too long or ends nowhere.
ObjectId end_of(const KnownTags& known, ObjectId id) {
  for (int depth = 0; depth <= kTagDepthMax; ++depth) {
    const auto found = known.find(id);
    if (found == known.end() || found->second.kind != ObjectKind::tag) break;
    const ObjectFacts& tag = found->second;
    if (tag.target_kind == ObjectKind::missing) break;
    if (tag.target_kind != ObjectKind::tag) return tag.target;
    id = tag.target;
  }
  return {};
}

// "git version 2.45.1" -> {2, 45}.
std::pair<int, int> parse_git_version(std::string_view text) {
  std::pair<int, int> version{0, 0};
  const std::size_t digit = text.find_first_of("0123456789");
  if (digit == std::string_view::npos) return version;
  const char* const end = text.data() + text.size();
  const auto major = std::from_chars(text.data() + digit, end, version.first);
  if (major.ptr < end && *major.ptr == '.') std::from_chars(major.ptr + 1, end, version.second);
  return version;
}

}  // namespace

std::size_t WorkerRepositories::TipSet::bytes() const {
  return tips.size() * sizeof(ObjectId) + (tags ? tags->size() * sizeof(ObjectId) : 0) +
         (reachable ? reachable->size() * sizeof(ShortId) : 0);
}

WorkerReply WorkerRepositories::handle(const WorkerRequest& request) {
  const GitRunner git(
      git_path_, request.git_dir,
      std::chrono::steady_clock::now() + std::chrono::milliseconds(request.time_ms_max));
  WorkerReply reply;
  const auto take = [&reply](auto&& result, auto& into) {
    if (result) {
      into = std::move(*result);
    } else {
      reply.status = status_of(result.error().code);
      if (reply.problem.empty()) reply.problem = io::to_string(result.error());
    }
  };
  switch (request.operation) {
    case WorkerOperation::read_config:
      take(read_repository_config(request.git_dir, request.common_dir, git, reply.problem),
           reply.config);
      break;
    case WorkerOperation::peel:
      take(peel(request, git), reply.ids);
      break;
    case WorkerOperation::check_wants: {
      TipSet* const tips = find_tips(request);
      if (tips == nullptr) {
        reply.status = WorkerStatus::need_tips;
        break;
      }
      ObjectId refused;
      take(check_wants(request, *tips, git), refused);
      if (refused.bytes != 0) reply.ids.push_back(refused);
      trim_tips();
      break;
    }
    case WorkerOperation::list_refs:
      take(list_refs(git, reply.problem), reply.refs);
      break;
  }
  return reply;
}

io::Result<std::vector<ObjectId>> WorkerRepositories::peel(const WorkerRequest& request,
                                                           const GitRunner& git) {
  // One round a level of tags that point at tags; a target is believed without being looked up, as
  // git does. Each tag is looked at once, however many others lead to it.
  KnownTags known;
  std::vector<ObjectId> current = request.ids;
  for (int depth = 0; !current.empty() && depth <= kTagDepthMax; ++depth) {
    const auto facts = objects_.look(request.common_dir + "/objects", request.format, current, git);
    if (!facts) return std::unexpected(facts.error());
    for (std::size_t i = 0; i < facts->size(); ++i) known[current[i]] = (*facts)[i];
    std::vector<ObjectId> next;
    for (const ObjectFacts& object : *facts) {
      const bool nests = object.kind == ObjectKind::tag && object.target_kind == ObjectKind::tag;
      if (nests && known.try_emplace(object.target).second) next.push_back(object.target);
    }
    current = std::move(next);
  }
  std::vector<ObjectId> peeled;
  peeled.reserve(request.ids.size());
  for (const ObjectId& id : request.ids) peeled.push_back(end_of(known, id));
  return peeled;
}

WorkerRepositories::TipSet* WorkerRepositories::find_tips(const WorkerRequest& request) {
  const std::string key = request.common_dir + '\0' + request.tips_digest;
  for (auto at = tip_sets_.begin(); at != tip_sets_.end(); ++at) {
    if (at->key != key) continue;
    tip_sets_.splice(tip_sets_.begin(), tip_sets_, at);
    return &tip_sets_.front();
  }
  if (!request.has_tips) return nullptr;
  TipSet set{key, request.tips, {}, {}};
  std::ranges::sort(set.tips);
  const auto repeated = std::ranges::unique(set.tips);
  set.tips.erase(repeated.begin(), repeated.end());
  tip_sets_.push_front(std::move(set));
  return &tip_sets_.front();
}

void WorkerRepositories::trim_tips() {
  std::size_t total = 0;
  for (auto at = tip_sets_.begin(); at != tip_sets_.end();) {
    total += at->bytes();
    at = total > kTipSetBytesMax ? tip_sets_.erase(at) : std::next(at);
  }
}

io::Result<ObjectId> WorkerRepositories::check_wants(const WorkerRequest& request, TipSet& tips,
                                                     const GitRunner& git) {
  std::vector<ObjectId> wants;
  for (const ObjectId& id : request.ids) {
    if (!contains(tips.tips, id)) wants.push_back(id);
  }
  const auto facts = objects_.look(request.common_dir + "/objects", request.format, wants, git);
  if (!facts) return std::unexpected(facts.error());
  std::vector<ObjectId> commits;
  std::vector<ObjectId> others;
  for (std::size_t i = 0; i < wants.size(); ++i) {
    switch ((*facts)[i].kind) {
      case ObjectKind::missing:
        return wants[i];
      case ObjectKind::commit:
        commits.push_back(wants[i]);
        break;
      case ObjectKind::tag:
        if (auto loaded = load_tags(request, tips, git); !loaded) {
          return std::unexpected(loaded.error());
        }
        if (!contains(*tips.tags, wants[i])) return wants[i];
        break;
      case ObjectKind::tree:
      case ObjectKind::blob:
        if (!request.allow_trees_and_blobs) return wants[i];
        others.push_back(wants[i]);
        break;
    }
  }
  if (!commits.empty()) {
    auto refused = check_commits(commits, tips, git);
    if (!refused || refused->bytes != 0) return refused;
  }
  if (others.empty()) return ObjectId{};
  return check_objects(request, others, tips, git);
}

// A commit is reachable iff walking from it without what the tips reach does not print it.
io::Result<ObjectId> WorkerRepositories::check_commits(const std::vector<ObjectId>& wants,
                                                       const TipSet& tips, const GitRunner& git) {
  if (tips.tips.empty()) return wants.front();
  ObjectId refused;
  const IdPlaces places = places_of(wants);
  const auto walked = git.run_lines({"rev-list", "--stdin", "--ignore-missing"},
                                    revisions(wants, tips.tips), [&](std::string_view line) {
                                      const auto id = ObjectId::from_hex(line);
                                      const bool wanted = id && places.contains(*id);
                                      if (wanted) refused = *id;
                                      return !wanted;
                                    });
  if (!walked) return std::unexpected(walked.error());
  return refused;
}

io::Result<ObjectId> WorkerRepositories::check_objects(const WorkerRequest& request,
                                                       const std::vector<ObjectId>& wants,
                                                       TipSet& tips, const GitRunner& git) {
  if (tips.tips.empty()) return wants.front();
  const auto shorten = [](const ObjectId& id) {
    ShortId cut;
    std::memcpy(cut.data(), id.hash.data(), cut.size());
    return cut;
  };
  const IdPlaces places = places_of(wants);
  const bool bitmap = has_bitmap(request.common_dir);
  if (bitmap && !tips.reachable) {
    // With bitmaps the difference is exact unless git falls back to walking, which may print
    // objects that older commits hold: what it does not print is reachable in both cases.
    bool all_reachable = true;
    const auto walked = git.run_lines(
        {"rev-list", "--objects", "--use-bitmap-index", "--stdin", "--ignore-missing"},
        revisions(wants, tips.tips), [&](std::string_view line) {
          const auto id = ObjectId::from_hex(line.substr(0, line.find(' ')));
          if (id && places.contains(*id)) all_reachable = false;
          return all_reachable;
        });
    if (!walked) return std::unexpected(walked.error());
    if (all_reachable) return ObjectId{};
  }
  if (!tips.reachable) {
    std::vector<ShortId> all;
    std::vector<bool> seen(wants.size());
    bool fits = true;
    std::vector<std::string> arguments = {"rev-list", "--objects", "--no-object-names", "--stdin",
                                          "--ignore-missing"};
    if (bitmap) arguments.push_back("--use-bitmap-index");
    const auto walked =
        git.run_lines(std::move(arguments), revisions(tips.tips, {}), [&](std::string_view line) {
          const auto id = ObjectId::from_hex(line.substr(0, line.find(' ')));
          if (!id) return true;
          fits = fits && (all.size() + 1) * sizeof(ShortId) + tips.bytes() <= kTipSetBytesMax;
          if (fits) all.push_back(shorten(*id));
          if (const auto want = places.find(*id); want != places.end()) seen[want->second] = true;
          return true;
        });
    if (!walked) return std::unexpected(walked.error());
    if (!fits) {
      const auto unseen = std::ranges::find(seen, false);
      if (unseen == seen.end()) return ObjectId{};
      return wants[static_cast<std::size_t>(unseen - seen.begin())];
    }
    std::ranges::sort(all);
    all.shrink_to_fit();
    tips.reachable = std::move(all);
  }
  for (const ObjectId& id : wants) {
    if (!std::ranges::binary_search(*tips.reachable, shorten(id))) return id;
  }
  return ObjectId{};
}

io::Result<void> WorkerRepositories::load_tags(const WorkerRequest& request, TipSet& tips,
                                               const GitRunner& git) {
  if (tips.tags) return {};
  std::vector<ObjectId> all;
  std::vector<ObjectId> current = tips.tips;
  std::unordered_set<ObjectId, ObjectIdHash> seen(current.begin(), current.end());
  for (int depth = 0; !current.empty() && depth < kTagDepthMax; ++depth) {
    const auto facts = objects_.look(request.common_dir + "/objects", request.format, current, git);
    if (!facts) return std::unexpected(facts.error());
    std::vector<ObjectId> next;
    for (std::size_t i = 0; i < facts->size(); ++i) {
      if ((*facts)[i].kind != ObjectKind::tag) continue;
      all.push_back(current[i]);
      const ObjectFacts& tag = (*facts)[i];
      if (tag.target_kind == ObjectKind::tag && seen.insert(tag.target).second) {
        next.push_back(tag.target);
      }
    }
    current = std::move(next);
  }
  std::ranges::sort(all);
  tips.tags = std::move(all);
  return {};
}

io::Result<LooseRefs> WorkerRepositories::list_refs(const GitRunner& git, std::string& problem) {
  const auto version = git.output({"version"}, "", 4096);
  if (!version) return std::unexpected(version.error());
  const std::pair<int, int> needed{kReftableGit[0], kReftableGit[1]};
  LooseRefs refs;
  const auto listed =
      git.run_lines({"for-each-ref", "--format=%(objectname) %(refname) %(symref)"}, "",
                    [&](std::string_view line) {
                      const std::size_t first = line.find(' ');
                      const std::size_t second = line.find(' ', first + 1);
                      if (first == std::string_view::npos || second == std::string_view::npos)
                        return true;
                      const std::string_view name = line.substr(first + 1, second - first - 1);
                      const auto id = ObjectId::from_hex(line.substr(0, first));
                      if (!id || !is_ref_name(name)) return true;
                      LooseRef ref{std::string(name), {}, std::string(line.substr(second + 1))};
                      if (ref.target.empty()) ref.id = *id;
                      refs.refs.push_back(std::move(ref));
                      return refs.refs.size() <= kListedRefsMax;
                    });
  if (!listed || refs.refs.size() > kListedRefsMax) {
    if (parse_git_version(*version) < needed) {
      problem =
          "this repository stores its refs as reftable, which needs git 2.45 or later; the "
          "configured one is " +
          version->substr(0, version->find('\n'));
    }
    return io::fail(listed ? io::Errc::limit : io::Errc::unavailable, "list refs with git");
  }
  std::ranges::sort(refs.refs, {}, &LooseRef::name);
  refs.head.name = "HEAD";
  std::string target = git.output({"symbolic-ref", "-q", "HEAD"}, "", 16384).value_or("");
  if (!target.empty()) {
    refs.head.target = target.substr(0, target.find('\n'));
  } else {
    const auto head = git.output({"rev-parse", "-q", "--verify", "HEAD"}, "", 4096);
    if (!head) return std::unexpected(head.error());
    refs.head.id = ObjectId::from_hex(head->substr(0, head->find('\n'))).value_or(ObjectId{});
  }
  return refs;
}

}  // namespace weir::git
