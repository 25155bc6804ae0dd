#pragma once
// RecipeCache: replies of planners, kept by the value of what was asked: objects are named by
// content, so a reply stays right whatever becomes of the refs. Nothing is authorised here: wants
// are checked for each request before it comes this far. Where a reply depends on what may be seen
// (tags that go along, what counts of the haves, bases sent beyond what was asked) the digest of
// the visible tips belongs to its key. Fallbacks and failures are remembered for about a second, so
// that they are not tried again by each of a herd.
// Owned by the planner pool of the loop that owns the repositories; that loop's thread only.
// Bounded by bytes; when full the least asked for leaves (a window for newcomers, then a segmented
// LRU that admits by frequency: "TinyLFU", Einziger et al.); a tenant has at most a quarter.
// Entries hold the files of their repository open: those of a set that is no longer the newest go
// kOldFilesGrace after a newer one was opened, all of them when the repository is let go of.
// Metrics: weir_recipe_cache_answers_total{result}, _entries, _bytes, _evictions_total{reason},
// _old_files_bytes.

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "git/frequency_sketch.h"
#include "git/plan_source.h"
#include "io/event_loop.h"
#include "io/intrusive_list.h"
#include "io/metrics.h"

namespace weir::git {

inline constexpr std::size_t kRecipeCacheBytesMax = 64UL * 1024 * 1024;  // a loop
inline constexpr std::size_t kRecipeCacheTenantPart = 4;                 // at most a quarter each
inline constexpr io::Duration kOldFilesGrace = std::chrono::minutes(1);
inline constexpr io::Duration kFailureRemembered = std::chrono::seconds(1);  // ± a quarter
inline constexpr std::size_t kFailuresMax = 1024;  // the oldest is forgotten

// What names a plan. Made of a request that may hold 200,000 ids: above kKeyIdsOnLoopMax of them
// not on a loop (~100 ns an id).
struct PlanKeys {
  io::Sha256Digest asked{};      // the request alone
  io::Sha256Digest seen{};       // with what may be seen
  bool depends_on_seen = false;  // already by its form
};
inline constexpr std::size_t kKeyIdsOnLoopMax = 8192;
inline std::size_t key_ids(const PlanRequest& request) {
  return request.wants.size() + request.haves.size() + request.shallows.size();
}
// `visible_digest`: differs whenever the visible tips do, also if only the configuration that hides
// refs changed. Sorts copies of the ids: the order in which a client names them says nothing.
PlanKeys plan_keys(const RepositoryId& repository, ObjectFormat format, const PlanRequest& request,
                   std::string_view visible_digest);

class RecipeCache {
 public:
  explicit RecipeCache(io::EventLoop& loop, std::size_t bytes_max = kRecipeCacheBytesMax);
  ~RecipeCache();
  RecipeCache(const RecipeCache&) = delete;
  RecipeCache& operator=(const RecipeCache&) = delete;

  // What is known, a failure of a moment ago too; counts the request.
  std::optional<Planned> find(const PlanKeys& keys);
  // Keeps what was planned or negotiated if there is room for it; all else for about a second.
  void remember(const PlanKeys& keys, const Repository& repository, const Planned& planned);
  // `now`: what new plans are made from; null: the repository is not held open any more, and its
  // replies go at once.
  void files_changed(const RepositoryId& repository, const RepositoryFiles* now);
  // Before the loop ends.
  void clear();

  std::size_t entries() const { return entries_.size(); }
  std::size_t bytes() const;
  std::size_t tenant_bytes(std::string_view tenant) const;
  std::uint64_t old_files_bytes() const { return old_files_bytes_; }

 private:
  struct ByUse;
  struct OfTenant;
  struct OfRepository;
  // Where an entry is: newcomers; those asked for once since; those asked for again.
  enum class Segment : std::uint8_t { window, probation, kept };
  enum class Leaving : std::uint8_t { unpopular, room, share, files };
  struct Entry;
  struct Tenant {
    std::size_t bytes = 0;
    io::IntrusiveList<Entry, OfTenant> entries;  // the least recently used in front
  };
  struct OfOneRepository {
    std::uint64_t files_number = 0;  // of the newest set known
    io::IntrusiveList<Entry, OfRepository> entries;
  };
  struct OldFiles {
    RepositoryId repository;
    std::uint64_t files_number = 0;
    io::Instant due;
    std::uint64_t bytes = 0;  // of files that the set after it no longer has
  };
  struct Failure {
    io::Instant until;
    Planned planned;
  };
  struct SweepTimer : io::Timer {
    RecipeCache* cache = nullptr;
  };

  std::size_t main_bytes() const;
  void enter(Entry& entry, Segment segment);
  void leave_segment(Entry& entry);
  void used(Entry& entry);
  void contest(Entry& candidate);
  void evict(Entry& entry, Leaving why);
  void remember_failure(const io::Sha256Digest& key, const Planned& planned);
  void grow_old(const RepositoryId& repository, std::uint64_t files_number, std::uint64_t bytes);
  void sweep();
  void evict_made_of(const RepositoryId& repository, std::uint64_t files_number);

  io::EventLoop& loop_;
  const std::size_t bytes_max_, window_bytes_max_, kept_bytes_max_;
  FrequencySketch asked_for_;
  std::map<io::Sha256Digest, std::unique_ptr<Entry>> entries_;
  std::array<io::IntrusiveList<Entry, ByUse>, 3> segments_;  // least recently used in front
  std::array<std::size_t, 3> segment_bytes_{};
  std::map<std::string, Tenant, std::less<>> tenants_;
  std::map<std::array<std::uint8_t, 16>, OfOneRepository> repositories_;
  std::deque<OldFiles> old_files_;  // the next due in front
  std::uint64_t old_files_bytes_ = 0;
  SweepTimer sweep_timer_;
  std::map<io::Sha256Digest, Failure> failures_;
  std::deque<io::Sha256Digest> failures_by_age_;
  io::Counter hits_, failed_lately_;
  std::array<io::Counter, 4> evictions_;
  io::Gauge entries_gauge_, bytes_gauge_, old_files_gauge_;
};

}  // namespace weir::git
