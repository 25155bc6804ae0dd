#include "server/locator.h"

#include <array>
#include <atomic>
#include <list>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "io/metrics.h"
#include "server/repository_lookup.h"

namespace weir::server {
namespace {

// How long a lookup is trusted after still_there(): bounds how late it is noticed that a folder
// above became a repository or that a `.git` file was rewritten. Deletion and renaming are noticed
// at once.
constexpr io::Duration kTrustMax = std::chrono::seconds(5);

// A lookup, and when it was last begun to compare it with the disk.
struct Known {
  Known(Lookup found, io::Instant at) : lookup(std::move(found)), made_at(at), checked_at(at) {}

  const Lookup lookup;
  const io::Instant made_at;
  std::atomic<io::Instant> checked_at;
};

// Least recently used names leave first. Sharded: loops rarely meet.
class LookupCache {
 public:
  using Entry = std::shared_ptr<Known>;

  Entry find(const std::string& name) {
    Shard& shard = shard_of(name);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.by_name.find(name);
    if (found == shard.by_name.end()) return {};
    shard.nodes.splice(shard.nodes.begin(), shard.nodes, found->second);
    return found->second->entry;
  }

  void put(const std::string& name, Entry entry) {
    Shard& shard = shard_of(name);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.by_name.find(name);
    if (found != shard.by_name.end()) {
      found->second->entry = std::move(entry);
      return;
    }
    if (shard.nodes.size() == kLocatorEntriesMax / kShards) {
      shard.by_name.erase(shard.nodes.back().name);
      shard.nodes.pop_back();
      entries_.add(-1);
    }
    entries_.add(1);
    shard.nodes.push_front({name, std::move(entry)});
    shard.by_name.emplace(shard.nodes.front().name, shard.nodes.begin());
  }

  void erase(const std::string& name) {
    Shard& shard = shard_of(name);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.by_name.find(name);
    if (found == shard.by_name.end()) return;
    const auto node = found->second;
    shard.by_name.erase(found);
    shard.nodes.erase(node);
    entries_.add(-1);
  }

 private:
  struct Node {
    std::string name;
    Entry entry;
  };
  struct Shard {
    std::mutex mutex;
    std::list<Node> nodes;  // most recently used first
    std::unordered_map<std::string_view, std::list<Node>::iterator> by_name;  // views of Node::name
  };
  static constexpr std::size_t kShards = 16;

  Shard& shard_of(const std::string& name) {
    return shards_[std::hash<std::string>()(name) % kShards];
  }

  std::array<Shard, kShards> shards_;
  io::Gauge entries_ = io::Metrics::instance().gauge("weir_locator_entries", "",
                                                     "Repository names whose place is remembered.");
};

}  // namespace

struct Locator::Impl {
  const std::string root;
  io::BlockingPool& pool;
  const io::Clock& clock;
  LookupCache cache;
};

Locator::Locator(std::string root, io::BlockingPool& pool, const io::Clock& clock)
    : impl_(new Impl{.root = std::move(root), .pool = pool, .clock = clock, .cache = {}}) {}

Locator::~Locator() = default;

io::Task<io::Result<Location>> Locator::locate(std::string tenant, std::string path,
                                               io::Instant since) {
  const std::string name = tenant + "/" + path;
  const io::Instant now = impl_->clock.now();
  const LookupCache::Entry known = impl_->cache.find(name);
  if (known && now - known->made_at < kTrustMax) {
    const Location& location = known->lookup.location;
    if (known->checked_at.load(std::memory_order_relaxed) > since) co_return location;
    if (still_there(known->lookup)) {
      known->checked_at.store(now, std::memory_order_relaxed);
      co_return location;
    }
  }
  auto job = [root = impl_->root, tenant, path] { return look_up_repository(root, tenant, path); };
  auto ran = co_await impl_->pool.run(std::move(job));
  if (!ran) co_return std::unexpected(ran.error());
  auto& looked_up = *ran;
  if (!looked_up) {
    // Whatever the disk said, it was not that there is nothing.
    const io::Error& error = looked_up.error();
    co_return io::fail(io::Errc::unavailable, error.where, error.sys_errno);
  }
  Location location = looked_up->location;
  if (location.kind == RepositoryKind::missing) {
    impl_->cache.erase(name);
  } else {
    impl_->cache.put(name, std::make_shared<Known>(std::move(*looked_up), now));
  }
  co_return location;
}

}  // namespace weir::server
