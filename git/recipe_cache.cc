#include "git/recipe_cache.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

namespace weir::git {
namespace {

constexpr std::size_t kEntryOverheadBytes = 640;  // the entry, its map's node, the reply's own

void put(std::string& out, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>(value >> shift);
}

void put_ids(std::string& out, std::vector<ObjectId> ids) {
  std::ranges::sort(ids);
  ids.erase(std::ranges::unique(ids).begin(), ids.end());
  put(out, ids.size());
  for (const ObjectId& id : ids) {
    out.append(reinterpret_cast<const char*>(id.hash.data()), id.bytes);
  }
}

std::size_t memory_bytes(const PlanReply& reply) {
  const std::size_t ids = reply.shallow.size() + reply.unshallow.size() + reply.common.size();
  return kEntryOverheadBytes + reply.recipe.memory_bytes() + ids * sizeof(ObjectId);
}

std::string_view tenant_of(const Repository& repository) {
  return std::string_view(repository.name).substr(0, repository.name.find('/'));
}

// What `before` keeps open that `after` no longer has.
std::uint64_t bytes_gone(const RepositoryFiles& before, const RepositoryFiles& after) {
  std::unordered_set<int> still_there;  // sets share the descriptors of files they share
  for (std::size_t i = 0; i < after.files().size(); ++i) still_there.insert(after.fd(i));
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < before.files().size(); ++i) {
    if (!still_there.contains(before.fd(i))) bytes += before.sizes()[i];
  }
  return bytes;
}

}  // namespace

PlanKeys plan_keys(const RepositoryId& repository, ObjectFormat format, const PlanRequest& request,
                   std::string_view visible_digest) {
  std::string text = "weir plan 1";
  text.reserve(256 + key_ids(request) * hash_bytes(format));
  text.append(reinterpret_cast<const char*>(repository.bytes.data()), repository.bytes.size());
  put(text, static_cast<std::uint64_t>(format));
  put(text, request.depth);
  put(text, std::uint64_t{request.filter.no_blobs});
  put(text, request.filter.blob_bytes_limit);
  put(text, request.filter.tree_depth_limit);
  put(text, request.filter.types);
  for (const bool flag : {request.done, request.wait_for_done, request.thin_pack, request.ofs_delta,
                          request.include_tag}) {
    put(text, std::uint64_t{flag});
  }
  put(text, static_cast<std::uint64_t>(request.level));
  put_ids(text, request.wants);
  put_ids(text, request.haves);
  put_ids(text, request.shallows);
  PlanKeys keys;
  keys.asked = io::sha256(text);
  keys.seen = io::sha256(text + "seen" + std::string(visible_digest));
  keys.depends_on_seen = request.include_tag || !request.haves.empty() || !request.shallows.empty();
  return keys;
}

struct RecipeCache::Entry : io::ListNode<ByUse>,
                            io::ListNode<OfTenant>,
                            io::ListNode<OfRepository> {
  io::Sha256Digest key{};
  io::Sha256Digest asked{};
  Planned planned;
  std::size_t bytes = 0;
  Segment segment = Segment::window;
  std::map<std::string, Tenant, std::less<>>::iterator tenant;
  std::map<std::array<std::uint8_t, 16>, OfOneRepository>::iterator repository;
};

RecipeCache::RecipeCache(io::EventLoop& loop, std::size_t bytes_max)
    : loop_(loop),
      bytes_max_(bytes_max),
      window_bytes_max_(bytes_max / 8),
      kept_bytes_max_((bytes_max - bytes_max / 8) / 5 * 4) {
  sweep_timer_.cache = this;
  sweep_timer_.on_expire = [](io::Timer& timer) { static_cast<SweepTimer&>(timer).cache->sweep(); };
  io::Metrics& metrics = io::Metrics::instance();
  constexpr const char* kAnswers = "weir_recipe_cache_answers_total";
  constexpr const char* kAnswersHelp = "Requests for plans, by what was known of them.";
  hits_ = metrics.counter(kAnswers, "result=\"hit\"", kAnswersHelp);
  failed_lately_ = metrics.counter(kAnswers, "result=\"failed_lately\"", kAnswersHelp);
  constexpr std::array<const char*, 4> kLeaving{"unpopular", "room", "share", "files"};
  for (std::size_t i = 0; i < kLeaving.size(); ++i) {
    evictions_[i] = metrics.counter("weir_recipe_cache_evictions_total",
                                    "reason=\"" + std::string(kLeaving[i]) + "\"",
                                    "Replies of planners that are kept no longer.");
  }
  entries_gauge_ = metrics.gauge("weir_recipe_cache_entries", "", "Replies of planners kept.");
  bytes_gauge_ = metrics.gauge("weir_recipe_cache_bytes", "", "Memory of replies kept.");
  old_files_gauge_ = metrics.gauge("weir_recipe_cache_old_files_bytes", "",
                                   "Files kept open for replies though the repository has them no "
                                   "longer; at most.");
}

RecipeCache::~RecipeCache() {
  clear();
}

void RecipeCache::clear() {
  loop_.timers().cancel(sweep_timer_);
  while (!entries_.empty()) evict(*entries_.begin()->second, Leaving::room);
  old_files_gauge_.add(-static_cast<std::int64_t>(std::exchange(old_files_bytes_, 0)));
  old_files_.clear();
}

std::size_t RecipeCache::bytes() const {
  return main_bytes() + segment_bytes_[static_cast<std::size_t>(Segment::window)];
}

std::size_t RecipeCache::main_bytes() const {
  return segment_bytes_[static_cast<std::size_t>(Segment::probation)] +
         segment_bytes_[static_cast<std::size_t>(Segment::kept)];
}

std::size_t RecipeCache::tenant_bytes(std::string_view tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.bytes;
}

std::optional<Planned> RecipeCache::find(const PlanKeys& keys) {
  asked_for_.add(keys.asked);
  auto found = keys.depends_on_seen ? entries_.end() : entries_.find(keys.asked);
  if (found == entries_.end()) found = entries_.find(keys.seen);
  if (found != entries_.end()) {
    hits_.add();
    used(*found->second);
    return found->second->planned;
  }
  const auto failed = failures_.find(keys.seen);
  if (failed == failures_.end() || failed->second.until <= loop_.now()) return std::nullopt;
  failed_lately_.add();
  return failed->second.planned;
}

void RecipeCache::remember(const PlanKeys& keys, const Repository& repository,
                           const Planned& planned) {
  const PlanReply& reply = *planned.reply;
  if (reply.status != PlanStatus::planned && reply.status != PlanStatus::negotiating) {
    return remember_failure(keys.seen, planned);
  }
  const bool depends = keys.depends_on_seen || reply.recipe.counts().extra > 0;
  const io::Sha256Digest& key = depends ? keys.seen : keys.asked;
  if (const auto same = entries_.find(key); same != entries_.end()) {
    evict(*same->second, Leaving::files);  // made from older files, else it would have been found
  }
  const std::size_t bytes = memory_bytes(reply);
  const std::size_t share = bytes_max_ / kRecipeCacheTenantPart;
  if (bytes > share) return;
  files_changed(repository.id, planned.files.get());

  const auto tenant = tenants_.try_emplace(std::string(tenant_of(repository))).first;
  const auto entries = repositories_.try_emplace(repository.id.bytes).first;
  auto made = std::make_unique<Entry>();
  Entry& entry = *made;
  entry.key = key;
  entry.asked = keys.asked;
  entry.planned = planned;
  entry.bytes = bytes;
  entry.tenant = tenant;
  entry.repository = entries;
  tenant->second.entries.push_back(entry);
  tenant->second.bytes += bytes;
  OfOneRepository& of_repository = entries->second;
  of_repository.entries.push_back(entry);
  const std::uint64_t number = planned.files->number();
  if (number > of_repository.files_number) of_repository.files_number = number;
  if (number < of_repository.files_number) grow_old(repository.id, number, 0);
  entries_.emplace(key, std::move(made));
  entries_gauge_.add(1);
  bytes_gauge_.add(static_cast<std::int64_t>(bytes));
  enter(entry, bytes > window_bytes_max_ ? Segment::probation : Segment::window);

  while (tenant->second.bytes > share) evict(tenant->second.entries.front(), Leaving::share);
  if (bytes > window_bytes_max_) contest(entry);
  auto& window = segments_[static_cast<std::size_t>(Segment::window)];
  while (segment_bytes_[static_cast<std::size_t>(Segment::window)] > window_bytes_max_) {
    Entry& eldest = window.front();
    leave_segment(eldest);
    enter(eldest, Segment::probation);
    contest(eldest);
  }
}

// A second is long enough for a herd to pass, and short enough for a repository that was repaired.
void RecipeCache::remember_failure(const io::Sha256Digest& key, const Planned& planned) {
  const io::Instant now = loop_.now();
  while (!failures_by_age_.empty()) {
    const auto oldest = failures_.find(failures_by_age_.front());
    if (oldest->second.until > now && failures_.size() < kFailuresMax) break;
    failures_.erase(oldest);
    failures_by_age_.pop_front();
  }
  const io::Duration jitter = kFailureRemembered / 2 * key[0] / 256;
  const io::Instant until = now + kFailureRemembered * 3 / 4 + jitter;
  const auto [failure, fresh] =
      failures_.insert_or_assign(key, Failure{until, {planned.reply, nullptr}});
  if (fresh) failures_by_age_.push_back(key);
}

void RecipeCache::enter(Entry& entry, Segment segment) {
  entry.segment = segment;
  segments_[static_cast<std::size_t>(segment)].push_back(entry);
  segment_bytes_[static_cast<std::size_t>(segment)] += entry.bytes;
}

void RecipeCache::leave_segment(Entry& entry) {
  entry.io::ListNode<ByUse>::unlink();
  segment_bytes_[static_cast<std::size_t>(entry.segment)] -= entry.bytes;
}

void RecipeCache::used(Entry& entry) {
  entry.io::ListNode<OfTenant>::unlink();
  entry.tenant->second.entries.push_back(entry);
  leave_segment(entry);
  enter(entry, entry.segment == Segment::window ? Segment::window : Segment::kept);
  auto& kept = segments_[static_cast<std::size_t>(Segment::kept)];
  while (segment_bytes_[static_cast<std::size_t>(Segment::kept)] > kept_bytes_max_) {
    Entry& coldest = kept.front();
    leave_segment(coldest);
    enter(coldest, Segment::probation);
  }
}

// The candidate, the newest on probation, stays if it was asked for more than those that would have
// to leave for it. (It is at most a tenant's share, so there is always another.)
void RecipeCache::contest(Entry& candidate) {
  while (main_bytes() > bytes_max_ - window_bytes_max_) {
    Entry& oldest = segments_[static_cast<std::size_t>(Segment::probation)].front();
    Entry& victim =
        &oldest == &candidate ? segments_[static_cast<std::size_t>(Segment::kept)].front() : oldest;
    if (asked_for_.count(victim.asked) >= asked_for_.count(candidate.asked)) {
      return evict(candidate, Leaving::unpopular);
    }
    evict(victim, Leaving::room);
  }
}

void RecipeCache::evict(Entry& entry, Leaving why) {
  evictions_[static_cast<std::size_t>(why)].add();
  entries_gauge_.add(-1);
  bytes_gauge_.add(-static_cast<std::int64_t>(entry.bytes));
  leave_segment(entry);
  entry.io::ListNode<OfTenant>::unlink();
  entry.tenant->second.bytes -= entry.bytes;
  if (entry.tenant->second.entries.empty()) tenants_.erase(entry.tenant);
  entry.io::ListNode<OfRepository>::unlink();
  if (entry.repository->second.entries.empty()) repositories_.erase(entry.repository);
  entries_.erase(entry.key);
}

void RecipeCache::files_changed(const RepositoryId& repository, const RepositoryFiles* now) {
  const auto found = repositories_.find(repository.bytes);
  if (found == repositories_.end()) return;
  OfOneRepository& known = found->second;
  if (now == nullptr) return evict_made_of(repository, known.files_number);
  if (now->number() <= known.files_number) return;
  std::uint64_t bytes = 0;
  for (Entry* entry = known.entries.first(); entry != nullptr; entry = known.entries.next(*entry)) {
    if (entry->planned.files->number() != known.files_number) continue;
    bytes = bytes_gone(*entry->planned.files, *now);
    break;
  }
  grow_old(repository, known.files_number, bytes);
  known.files_number = now->number();
}

void RecipeCache::grow_old(const RepositoryId& repository, std::uint64_t files_number,
                           std::uint64_t bytes) {
  old_files_.push_back({repository, files_number, loop_.now() + kOldFilesGrace, bytes});
  old_files_bytes_ += bytes;
  old_files_gauge_.add(static_cast<std::int64_t>(bytes));
  if (!sweep_timer_.armed()) loop_.timers().arm(sweep_timer_, old_files_.front().due);
}

void RecipeCache::sweep() {
  while (!old_files_.empty() && old_files_.front().due <= loop_.now()) {
    const OldFiles old = old_files_.front();
    old_files_.pop_front();
    old_files_bytes_ -= old.bytes;
    old_files_gauge_.add(-static_cast<std::int64_t>(old.bytes));
    evict_made_of(old.repository, old.files_number);
  }
  if (!old_files_.empty()) loop_.timers().arm(sweep_timer_, old_files_.front().due);
}

// Of that set of files and those before it.
void RecipeCache::evict_made_of(const RepositoryId& repository, std::uint64_t files_number) {
  const auto found = repositories_.find(repository.bytes);
  if (found == repositories_.end()) return;
  std::vector<Entry*> leaving;  // the last takes the list with it
  auto& entries = found->second.entries;
  for (Entry* entry = entries.first(); entry != nullptr; entry = entries.next(*entry)) {
    if (entry->planned.files->number() <= files_number) leaving.push_back(entry);
  }
  for (Entry* entry : leaving) evict(*entry, Leaving::files);
}

}  // namespace weir::git
