#include "git/open_repositories.h"

#include <algorithm>
#include <utility>

#include "io/check.h"
#include "io/metrics.h"

namespace weir::git {
namespace {

constexpr std::size_t kWaitersMax = 16 * 1024;  // as many calls as a pool takes

struct Counters {
  io::Gauge open = io::Metrics::instance().gauge("weir_planner_open_repositories", "",
                                                 "Repositories whose object files are open");
  io::Counter looks = io::Metrics::instance().counter(
      "weir_planner_looks_total", "", "Times that object files of a repository were looked for");
};

const Counters& counters() {
  static const Counters instance;
  return instance;
}

std::uint64_t loose_bytes(const RepositoryFiles& files) {
  const bool loose = !files.files().empty() && files.files().back().role == FileRole::loose_objects;
  return loose ? files.files().back().bytes : 0;
}

// What says that the repository cannot be read as it is, rather than that we could not just now.
bool is_lasting(io::Errc code) {
  return code == io::Errc::invalid || code == io::Errc::denied || code == io::Errc::limit ||
         code == io::Errc::corrupt;
}

}  // namespace

OpenRepositories::Entry::Entry(std::shared_ptr<const Repository> its_repository,
                               ObjectFormat its_format)
    : repository(std::move(its_repository)),
      format(its_format),
      look(1, kWaitersMax),
      learning(1, kWaitersMax) {}

OpenRepositories::OpenRepositories(io::EventLoop& loop, io::BlockingPool& blocking,
                                   std::vector<std::string> roots, Changed changed)
    : loop_(loop),
      blocking_(blocking),
      roots_(std::make_shared<const std::vector<std::string>>(std::move(roots))),
      changed_(std::move(changed)) {
  counters();
}

std::shared_ptr<OpenRepositories::Entry> OpenRepositories::find(
    const std::shared_ptr<const Repository>& repository, ObjectFormat format) {
  const auto known = by_id_.find(repository->id);
  if (known != by_id_.end() && (*known->second)->format == format) {
    entries_.splice(entries_.begin(), entries_, known->second);
  } else {
    if (known != by_id_.end()) {  // it was made anew in another format
      entries_.splice(entries_.end(), entries_, known->second);
      evict_last();
    }
    entries_.push_front(std::make_shared<Entry>(repository, format));
    by_id_[repository->id] = entries_.begin();
  }
  Entry& entry = *entries_.front();
  entry.used_at = loop_.now();
  evict_beyond_bounds();
  return entries_.front();
}

bool OpenRepositories::looked_lately(const Entry& entry) const {
  return entry.looked_at && loop_.now() - *entry.looked_at < kLookEvery;
}

void OpenRepositories::look_if_due(const std::shared_ptr<Entry>& entry) {
  if (!closing_ && !looked_lately(*entry)) start_look(entry);  // unless somebody looks
}

io::Task<io::Result<OpenRepositories::Files>> OpenRepositories::files_of(
    std::shared_ptr<Entry> entry, io::StopToken stop, io::Deadline deadline) {
  for (;;) {
    if (closing_) co_return io::fail(io::Errc::closed, "object files");
    look_if_due(entry);
    if (entry->files != nullptr) co_return entry->files;
    if (looked_lately(*entry) && entry->failure) co_return std::unexpected(*entry->failure);
    const auto turn = co_await entry->look.acquire(stop, deadline);
    if (!turn) co_return std::unexpected(turn.error());
  }
}

io::Task<io::Result<OpenRepositories::Files>> OpenRepositories::newer_than(
    Files old, std::shared_ptr<Entry> entry, io::StopToken stop, io::Deadline deadline) {
  for (int look = 0; look < 2; ++look) {
    if (closing_) break;
    // The first may have begun before the change.
    if (entry->look.available() != 0) {
      start_look(entry);
      look = 1;
    }
    const auto turn = co_await entry->look.acquire(stop, deadline);
    if (!turn) co_return std::unexpected(turn.error());
    if (entry->failure) co_return std::unexpected(*entry->failure);
    if (entry->files != nullptr && entry->files->number() != old->number()) co_return entry->files;
  }
  co_return Files();
}

void OpenRepositories::start_look(const std::shared_ptr<Entry>& entry) {
  auto turn = entry->look.try_acquire();
  if (turn) looks_.spawn(run_look(entry, std::move(*turn)));
}

io::Task<void> OpenRepositories::run_look(std::shared_ptr<Entry> entry,
                                          io::AsyncSemaphore::Units turn) {
  counters().looks.add();
  // Owns all that it needs.
  auto job = [repository = entry->repository, format = entry->format, roots = roots_,
              previous = entry->files]() -> io::Result<Files> {
    if (previous != nullptr && previous->still_current()) return previous;
    return RepositoryFiles::open(*repository, format, previous, *roots);
  };
  auto looking = blocking_.run(std::move(job));
  io::Result<io::Result<Files>> looked = co_await std::move(looking);
  entry->looked_at = loop_.now();
  entry->failure.reset();
  if (!looked) {
    entry->failure = looked.error();
  } else if (!*looked) {
    entry->failure = looked->error();
    // A set that was whole goes on being used while the new one cannot be had.
    if (entry->files != nullptr && !is_lasting(looked->error().code)) entry->failure.reset();
    if (entry->failure) set_files(*entry, nullptr);
  } else if (**looked != entry->files) {
    // Closing the last descriptor of a deleted pack takes its time.
    set_files(*entry, blocking_.freed_here(std::move(**looked)));
  }
  evict_beyond_bounds();
  turn.release();
}

void OpenRepositories::set_files(Entry& entry, Files files) {
  const Files old = std::exchange(entry.files, std::move(files));
  const auto listed = by_id_.find(entry.repository->id);
  if (listed != by_id_.end() && listed->second->get() == &entry) {
    counters().open.add((entry.files != nullptr ? 1 : 0) - (old != nullptr ? 1 : 0));
  }
  if (old == nullptr) return;
  if (entry.files == nullptr || entry.files->number() != old->number()) {
    changed_(entry.repository->id, *old, entry.files.get());
  }
}

void OpenRepositories::evict_beyond_bounds() {
  std::size_t files = 0, entries = 0;
  std::uint64_t loose = 0;
  for (auto at = entries_.begin(); at != entries_.end(); ++at) {
    ++entries;
    if ((*at)->files != nullptr) {
      files += (*at)->files->files().size();
      loose += loose_bytes(*(*at)->files);
    }
    if (entries == 1) continue;  // the one in use stays
    if (entries <= kOpenRepositoriesMax && files <= files_max_ && loose <= kOpenLooseBytesMax) {
      continue;
    }
    for (auto beyond = std::distance(at, entries_.end()); beyond > 0; --beyond) evict_last();
    return;
  }
}

void OpenRepositories::evict_last() {
  const std::shared_ptr<Entry> entry = entries_.back();
  set_files(*entry, nullptr);  // a look under way may give it some again, for those who wait
  by_id_.erase(entry->repository->id);
  entries_.pop_back();
}

void OpenRepositories::housekeeping() {
  while (!entries_.empty() && loop_.now() - entries_.back()->used_at > kOpenUnusedMax) evict_last();
}

io::Task<void> OpenRepositories::close() {
  closing_ = true;
  co_await looks_.join();
  while (!entries_.empty()) evict_last();
}

}  // namespace weir::git
