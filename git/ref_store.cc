#include "git/ref_store.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "git/ref_reader.h"
#include "git/repository_generation.h"
#include "git/worker_pool.h"
#include "io/durable_file.h"
#include "io/event_loop.h"
#include "io/log.h"
#include "io/metrics.h"
#include "io/signal.h"

namespace weir::git {
namespace {

using SnapshotResult = io::Result<std::shared_ptr<const RefSnapshot>>;

// So many files are looked at on the loop thread itself, a microsecond each, if that happened
// lately (their directory entries are in memory); more go to the pool, and the refs are packed.
constexpr std::size_t kStatsOnLoopMax = 64;
constexpr io::Duration kStatsHot = std::chrono::seconds(10);
constexpr io::Duration kStatsTimeMax = std::chrono::milliseconds(1);  // then the pool goes on
constexpr int kConfigAttempts = 4;  // of a configuration that includes other files at each reading
constexpr std::size_t kStatesMax = 65536;  // repositories remembered, with or without a snapshot
constexpr io::Duration kPackInterval = std::chrono::minutes(5);
constexpr io::Duration kPackIntervalMax = std::chrono::hours(24);  // doubled at each failure

struct Instruments {
  io::Metrics& all = io::Metrics::instance();
  io::Counter on_loop = all.counter("weir_refs_validations_total", "where=\"loop\"",
                                    "Snapshots compared with their files");
  io::Counter on_pool = all.counter("weir_refs_validations_total", "where=\"pool\"",
                                    "Snapshots compared with their files");
  io::Counter shared = all.counter("weir_refs_shared_total", "",
                                   "Requests that shared a validation of another request");
  io::Counter rebuilds = all.counter("weir_refs_rebuilds_total", "", "Snapshots read anew");
  io::Histogram rebuild_time = all.histogram("weir_refs_rebuild_seconds", "",
                                             "From the start of a validation to a new snapshot");
  io::Gauge bytes = all.gauge("weir_refs_bytes", "", "Memory of the ref snapshots kept");
  io::Gauge repositories =
      all.gauge("weir_refs_repositories", "", "Repositories remembered, with or without refs");
  io::Counter packed = all.counter("weir_refs_pack_jobs_total", "result=\"ok\"",
                                   "Runs of git pack-refs on repositories with many loose refs");
  io::Counter not_packed =
      all.counter("weir_refs_pack_jobs_total", "result=\"failed\"",
                  "Runs of git pack-refs on repositories with many loose refs");
  io::Counter peels = all.counter("weir_refs_peels_total", "", "Ids that workers peeled");
};

const Instruments& instruments() {
  static const Instruments instance;
  return instance;
}

// A caller that waits for the validation of another one, maybe on another loop.
struct Waiter {
  io::EventLoop& loop;
  io::Signal signal;
  // Set before the wake-up. Empty: the leader gave up (its client left); try again.
  std::optional<SnapshotResult> result;
  std::string problem;
};

struct State {
  explicit State(std::string generation_path) : generation(std::move(generation_path)) {}

  std::mutex mutex;
  std::shared_ptr<const LoadedRefs> loaded;
  // When the latest validation of `loaded` began, and what `changes` was then.
  io::Instant validated_at{};
  std::uint64_t validated_changes = 0;
  std::uint64_t changes = 0;  // calls of changed()

  bool in_flight = false;
  io::Instant began{};
  std::uint64_t began_changes = 0;
  std::vector<std::shared_ptr<Waiter>> waiters;

  io::Instant pack_not_before{};
  io::Duration pack_interval = kPackInterval;

  RepositoryGeneration generation;  // of the validation in flight
  // Under the store's mutex:
  std::size_t bytes = 0;
  std::list<RepositoryId>::iterator place;

  bool current(io::Instant since, bool by_time) const {
    return loaded != nullptr && validated_changes == changes && (!by_time || validated_at >= since);
  }
};

FileStamps stamp_files(const std::vector<std::string>& files, std::int64_t began_unix_ns) {
  FileStamps stamps(began_unix_ns);
  for (const std::string& file : files) {
    stamps.add(file, FileStamp::of_path(file.c_str(), true), true);
  }
  return stamps;
}

}  // namespace

struct RefStore::Impl {
  Impl(RefStoreOptions its_options, io::BlockingPool& its_pool)
      : options(std::move(its_options)), pool(its_pool) {
    instruments();
    if (options.state_directory.empty()) return;
    (void)io::make_folder_durably(options.state_directory);  // a store that fails says so
    (void)io::make_folder_durably(options.state_directory + "/refs");
  }
  ~Impl() {
    for (auto& [id, state] : states) state->generation.seal_blocking();
    instruments().bytes.add(-static_cast<std::int64_t>(bytes));
    instruments().repositories.add(-static_cast<std::int64_t>(states.size()));
  }

  std::shared_ptr<State> state_of(const RepositoryId& id);
  void account(const RepositoryId& id, State& state, std::size_t state_bytes);
  void trim();

  struct Validated {
    io::Result<std::shared_ptr<const LoadedRefs>> loaded;
    std::string problem;
  };
  io::Task<Validated> validate(std::shared_ptr<State> state,
                               std::shared_ptr<const Repository> repository,
                               std::shared_ptr<const LoadedRefs> previous, bool compare,
                               WorkerPool& workers, io::StopToken stop, io::Deadline deadline);
  std::shared_ptr<const RefSnapshot> current(State& state, io::Instant since) const;
  static SnapshotResult settle(State& state, const Validated& validated);

  struct Configured {
    std::shared_ptr<const RepositoryConfig> config;
    FileStamps stamps;
  };
  io::Task<io::Result<Configured>> read_config(std::shared_ptr<const Repository> repository,
                                               WorkerPool& workers, io::StopToken stop,
                                               io::Deadline deadline, std::string& problem);
  void pack_if_many(const std::shared_ptr<State>& state, const LoadedRefs& loaded,
                    const std::shared_ptr<const Repository>& repository, WorkerPool& workers);

  const RefStoreOptions options;
  io::BlockingPool& pool;

  std::mutex mutex;
  std::unordered_map<RepositoryId, std::shared_ptr<State>, RepositoryIdHash> states;
  std::list<RepositoryId> recent;  // most recently used first
  std::size_t bytes = 0;
};

std::shared_ptr<State> RefStore::Impl::state_of(const RepositoryId& id) {
  const std::lock_guard lock(mutex);
  std::shared_ptr<State>& state = states[id];
  if (state == nullptr) {
    const std::string& folder = options.state_directory;
    state = std::make_shared<State>(folder.empty() ? "" : folder + "/refs/" + id.to_hex());
    state->place = recent.insert(recent.begin(), id);
    instruments().repositories.add(1);
    std::shared_ptr<State> made = state;
    trim();
    return made;
  }
  recent.splice(recent.begin(), recent, state->place);
  return state;
}

// Forgets what was used least recently: snapshots beyond the bytes, states beyond their number.
// A state in use (by a validation, by a caller) stays.
void RefStore::Impl::trim() {
  for (auto at = recent.end();
       at != recent.begin() && (bytes > options.bytes_max || states.size() > kStatesMax);) {
    --at;
    const auto found = states.find(*at);
    State& state = *found->second;
    if (found->second.use_count() > 1) continue;
    bytes -= state.bytes;
    instruments().bytes.add(-static_cast<std::int64_t>(state.bytes));
    state.bytes = 0;
    {
      const std::lock_guard lock(state.mutex);
      state.loaded = nullptr;
    }
    if (states.size() <= kStatesMax) continue;
    states.erase(found);
    instruments().repositories.add(-1);
    at = recent.erase(at);
  }
}

void RefStore::Impl::account(const RepositoryId& id, State& state, std::size_t state_bytes) {
  const std::lock_guard lock(mutex);
  const auto found = states.find(id);
  if (found == states.end() || found->second.get() != &state) return;
  instruments().bytes.add(static_cast<std::int64_t>(state_bytes) -
                          static_cast<std::int64_t>(state.bytes));
  bytes += state_bytes - state.bytes;
  state.bytes = state_bytes;
  trim();
}

// The files are stamped before they are read; which ones there are is known only afterwards.
io::Task<io::Result<RefStore::Impl::Configured>> RefStore::Impl::read_config(
    std::shared_ptr<const Repository> repository, WorkerPool& workers, io::StopToken stop,
    io::Deadline deadline, std::string& problem) {
  std::vector<std::string> files = {repository->common_dir + "/config",
                                    repository->common_dir + "/objects/info/alternates"};
  for (int attempt = 1;; ++attempt) {
    const std::int64_t began_unix_ns = io::EventLoop::current().clock().unix_ns();
    auto stamping = pool.run([&files, began_unix_ns] { return stamp_files(files, began_unix_ns); });
    auto stamps = co_await std::move(stamping);
    if (!stamps) co_return std::unexpected(stamps.error());
    auto config = co_await workers.read_config(repository, stop, deadline, problem);
    if (!config) co_return std::unexpected(config.error());
    bool known = true;
    for (const std::string& file : config->files) {
      if (std::ranges::find(files, file) != files.end()) continue;
      files.push_back(file);
      known = false;
    }
    if (!known && attempt < kConfigAttempts) continue;
    config->allow_filter = config->allow_filter && options.allow_filter;
    Configured configured;
    configured.config = std::make_shared<const RepositoryConfig>(std::move(*config));
    configured.stamps = std::move(*stamps);
    co_return configured;
  }
}

io::Task<RefStore::Impl::Validated> RefStore::Impl::validate(
    std::shared_ptr<State> state, std::shared_ptr<const Repository> repository,
    std::shared_ptr<const LoadedRefs> previous, bool compare, WorkerPool& workers,
    io::StopToken stop, io::Deadline deadline) {
  const io::Instant began = io::EventLoop::current().clock().now();
  Validated result{io::fail(io::Errc::unavailable, "refs"), ""};
  const auto failed = [&result](const io::Error& error) {
    result.loaded = std::unexpected(error);
    return std::move(result);
  };

  Configured configured;
  if (previous != nullptr) {
    struct Same {
      bool config;
      bool refs;
    };
    const LoadedRefs& old = *previous;
    auto comparing = pool.run([&old, compare] {
      const bool config = !old.config_stamps.racy() && old.config_stamps.unchanged();
      return Same{config,
                  compare && config && !old.ref_stamps.racy() && old.ref_stamps.unchanged()};
    });
    const auto same = co_await std::move(comparing);
    if (!same) co_return failed(same.error());
    instruments().on_pool.add();
    if (same->refs) {
      result.loaded = std::move(previous);
      co_return result;
    }
    if (same->config) configured = {old.snapshot->shared_config(), old.config_stamps};
  }
  if (configured.config == nullptr) {
    auto read = co_await read_config(repository, workers, stop, deadline, result.problem);
    if (!read) co_return failed(read.error());
    configured = std::move(*read);
  }

  const bool reftable = configured.config->reftable;
  const ObjectFormat format = configured.config->sha256 ? ObjectFormat::sha256 : ObjectFormat::sha1;
  const std::int64_t began_unix_ns = io::EventLoop::current().clock().unix_ns();
  RefReader reader(*repository, configured.config, std::move(configured.stamps), previous.get(),
                   began_unix_ns);
  if (reftable) {
    const std::vector<std::string> tables = {repository->common_dir + "/reftable/tables.list"};
    auto stamping =
        pool.run([&tables, began_unix_ns] { return stamp_files(tables, began_unix_ns); });
    auto stamps = co_await std::move(stamping);
    if (!stamps) co_return failed(stamps.error());
    auto listed = co_await workers.list_refs(repository, stop, deadline, result.problem);
    if (!listed) co_return failed(listed.error());
    reader.take_listed(std::move(*listed), std::move(*stamps));
  } else {
    std::string& problem = result.problem;
    auto reading = pool.run([&reader, &problem] { return reader.read_blocking(problem); });
    const auto read = co_await std::move(reading);
    if (!read) co_return failed(read.error());
    if (!*read) co_return failed(read->error());
  }

  std::vector<ObjectId> peeled;
  if (!reader.to_peel().empty()) {
    instruments().peels.add(reader.to_peel().size());
    auto done = co_await workers.peel(repository, format, reader.to_peel(), stop, deadline);
    if (!done) co_return failed(done.error());
    peeled = std::move(*done);
  }

  const std::int64_t unix_ms = io::EventLoop::current().clock().unix_ns() / 1'000'000;
  RepositoryGeneration& generation = state->generation;
  auto building = pool.run([this, &reader, &peeled, &generation, unix_ms] {
    auto snapshot = pool.freed_here(reader.build_blocking(peeled));
    bool stored = true;
    snapshot->set_generation(generation.advance_blocking(snapshot->digest(), unix_ms, stored));
    if (!stored) {
      io::log_event(io::LogLevel::error,
                    "cannot store a repository generation: it may repeat after a crash");
    }
    return pool.freed_here(std::make_shared<const LoadedRefs>(reader.finish(std::move(snapshot))));
  });
  auto built = co_await std::move(building);
  if (!built) co_return failed(built.error());
  instruments().rebuilds.add();
  instruments().rebuild_time.observe(io::EventLoop::current().clock().now() - began);
  result.loaded = std::move(*built);
  co_return result;
}

// Every loose ref costs a look at each request, so a repository with many of them is packed: by
// git, in the background, one job at a time, ever more rarely while it fails.
void RefStore::Impl::pack_if_many(const std::shared_ptr<State>& state, const LoadedRefs& loaded,
                                  const std::shared_ptr<const Repository>& repository,
                                  WorkerPool& workers) {
  if (loaded.stats() <= kStatsOnLoopMax || loaded.snapshot->config().reftable) return;
  const io::Instant now = io::EventLoop::current().clock().now();
  {
    const std::lock_guard lock(state->mutex);
    if (now < state->pack_not_before) return;
    state->pack_not_before = now + kPackIntervalMax;  // until this job has ended
  }
  const auto done = [state](bool packed) {
    (packed ? instruments().packed : instruments().not_packed).add();
    const std::lock_guard lock(state->mutex);
    state->pack_interval =
        packed ? kPackInterval : std::min(2 * state->pack_interval, kPackIntervalMax);
    state->pack_not_before = io::EventLoop::current().clock().now() + state->pack_interval;
  };
  if (workers.pack_refs(repository, done)) return;
  const std::lock_guard lock(state->mutex);
  state->pack_not_before = now + std::chrono::seconds(1);
}

RefStore::RefStore(RefStoreOptions options, io::BlockingPool& pool)
    : impl_(std::make_unique<Impl>(std::move(options), pool)) {}

RefStore::~RefStore() = default;

// The snapshot we have, if it was validated late enough or a look at few files shows it true.
std::shared_ptr<const RefSnapshot> RefStore::Impl::current(State& state, io::Instant since) const {
  const bool by_time = options.validity == Validity::stat;
  const io::EventLoop& loop = io::EventLoop::current();
  std::shared_ptr<const LoadedRefs> on_loop;
  {
    const std::lock_guard lock(state.mutex);
    if (state.current(since, by_time)) {
      if (by_time) instruments().shared.add();
      return state.loaded->snapshot;
    }
    const bool hot = state.loaded != nullptr && state.validated_changes == state.changes &&
                     loop.now() - state.validated_at < kStatsHot;
    if (by_time && hot && state.loaded->stats() <= kStatsOnLoopMax && !state.loaded->racy()) {
      on_loop = state.loaded;
    }
  }
  if (on_loop == nullptr) return nullptr;
  const io::Instant began = loop.clock().now();
  if (!on_loop->unchanged_by(loop.clock(), began + kStatsTimeMax)) return nullptr;
  instruments().on_loop.add();
  const std::lock_guard lock(state.mutex);
  if (state.loaded == on_loop) state.validated_at = std::max(state.validated_at, began);
  return on_loop->snapshot;
}

// The end of a validation: its result is kept and told to those who waited for it.
SnapshotResult RefStore::Impl::settle(State& state, const Validated& validated) {
  SnapshotResult result = std::unexpected(io::Error{io::Errc::unavailable, 0, "refs"});
  if (validated.loaded) {
    result = (*validated.loaded)->snapshot;
  } else {
    result = std::unexpected(validated.loaded.error());
  }
  const bool gave_up = !result && (result.error().code == io::Errc::cancelled ||
                                   result.error().code == io::Errc::deadline_exceeded);
  std::vector<std::shared_ptr<Waiter>> waiters;
  {
    const std::lock_guard lock(state.mutex);
    state.in_flight = false;
    if (validated.loaded) {
      state.loaded = *validated.loaded;
      state.validated_at = std::max(state.validated_at, state.began);
      state.validated_changes = state.began_changes;
    }
    waiters.swap(state.waiters);
  }
  for (const std::shared_ptr<Waiter>& each : waiters) {
    if (!gave_up) {
      each->result = result;
      each->problem = validated.problem;
    }
    each->loop.post([each] { each->signal.notify(); });
  }
  return result;
}

io::Task<SnapshotResult> RefStore::snapshot(std::shared_ptr<const Repository> repository,
                                            io::Instant since, WorkerPool& workers,
                                            io::StopToken stop, io::Deadline deadline,
                                            std::string& problem) {
  const bool by_time = impl_->options.validity == Validity::stat;
  const std::shared_ptr<State> state = impl_->state_of(repository->id);
  io::EventLoop& loop = io::EventLoop::current();
  for (;;) {
    if (auto current = impl_->current(*state, since)) co_return current;

    std::shared_ptr<Waiter> waiter;
    std::shared_ptr<const LoadedRefs> previous;
    bool compare = false;
    bool sharable = false;
    {
      const std::lock_guard lock(state->mutex);
      if (state->in_flight) {
        sharable = state->began >= since && state->began_changes == state->changes;
        waiter = std::make_shared<Waiter>(loop);
        state->waiters.push_back(waiter);
      } else {
        state->in_flight = true;
        state->began = loop.clock().now();
        state->began_changes = state->changes;
        previous = state->loaded;
        compare = by_time && state->validated_changes == state->changes;
      }
    }
    if (waiter != nullptr) {
      const auto woken = co_await waiter->signal.wait(stop, deadline);
      if (!woken) co_return std::unexpected(woken.error());
      if (!sharable || !waiter->result.has_value()) continue;
      instruments().shared.add();
      problem = waiter->problem;
      co_return *waiter->result;
    }

    Impl::Validated validated =
        co_await impl_->validate(state, repository, previous, compare, workers, stop, deadline);
    SnapshotResult result = Impl::settle(*state, validated);
    problem = std::move(validated.problem);
    if (!validated.loaded) co_return result;
    impl_->account(repository->id, *state, (*validated.loaded)->bytes);
    impl_->pack_if_many(state, **validated.loaded, repository, workers);
    co_return result;
  }
}

void RefStore::changed(const RepositoryId& repository) {
  std::shared_ptr<State> state;
  {
    const std::lock_guard lock(impl_->mutex);
    const auto found = impl_->states.find(repository);
    if (found == impl_->states.end()) return;  // nothing is kept that could be old
    state = found->second;
  }
  const std::lock_guard lock(state->mutex);
  ++state->changes;
}

}  // namespace weir::git
