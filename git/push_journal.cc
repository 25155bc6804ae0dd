#include "git/push_journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "io/durable_file.h"
#include "io/log.h"
#include "io/process_identity.h"
#include "io/unique_fd.h"

namespace weir::git {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".push";

// Whose record a name is of: "<pid>-<start ticks>-<number>.push".
bool child_of_name_runs(const std::string& name) {
  pid_t pid = 0;
  std::uint64_t ticks = 0;
  const char* const end = name.data() + name.size();
  const auto first = std::from_chars(name.data(), end, pid);
  if (first.ec != std::errc{} || first.ptr == end) return false;
  const auto second = std::from_chars(first.ptr + 1, end, ticks);
  return second.ec == std::errc{} && io::process_runs(pid, ticks);
}

std::optional<std::string> read_record(const fs::path& path) {
  const io::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return std::nullopt;
  std::string text;
  char chunk[65536];
  for (;;) {
    const ssize_t got = ::read(fd.get(), chunk, sizeof chunk);
    if (got < 0) return std::nullopt;
    if (got == 0) return text;
    text.append(chunk, static_cast<std::size_t>(got));
  }
}

// What the dead child or we removed stays removed, before the record that speaks of it goes: they
// may be on different disks.
void sync_removals(const std::string& common_dir) {
  const io::UniqueFd fd(::open(common_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.valid()) ::syncfs(fd.get());
}

}  // namespace

PushJournal::PushJournal(std::string directory) : directory_(std::move(directory)) {
  (void)io::make_folder_durably(directory_);  // begin() reports what is wrong with it
  io::Metrics& metrics = io::Metrics::instance();
  locks_removed_ = metrics.counter("weir_push_stale_locks_removed_total", "",
                                   "Lock files of dead pushes that were removed.");
  quarantines_removed_ = metrics.counter("weir_push_stale_quarantines_removed_total", "",
                                         "Quarantine folders of dead pushes that were removed.");
  postponed_ = metrics.counter("weir_push_recovery_postponed_total", "",
                               "Recoveries put off because a live process may own the files.");
}

io::Result<std::string> PushJournal::begin(PushRecord record) {
  if (!record.storable()) return io::fail(io::Errc::invalid, "push record");
  record.boot_id = current_boot_id();
  settle_dead(record.common_dir, record.pid);
  std::string name;
  {
    const std::scoped_lock lock(mutex_);
    name = std::to_string(record.pid) + "-" + std::to_string(record.start_ticks) + "-" +
           std::to_string(++last_number_) + std::string(kSuffix);
  }
  const io::Result<void> written = io::write_durably(directory_ + "/" + name, record.serialize());
  if (!written) return std::unexpected(written.error());
  const std::scoped_lock lock(mutex_);
  entries_.insert_or_assign(name, Entry{std::move(record), State::ours});
  return name;
}

void PushJournal::remove_record(const std::string& name) {
  ::unlink((directory_ + "/" + name).c_str());
  const std::scoped_lock lock(mutex_);
  entries_.erase(name);
}

void PushJournal::end(const std::string& name) {
  std::string common_dir;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = entries_.find(name);
    if (found != entries_.end()) common_dir = found->second.record.common_dir;
  }
  remove_record(name);
  if (!common_dir.empty()) settle_dead(common_dir, 0);
}

void PushJournal::child_died(const std::string& name) {
  PushRecord record;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = entries_.find(name);
    if (found == entries_.end()) return;
    record = found->second.record;
  }
  end_orphans(record);
  settle_as_dead(name, record.common_dir);
}

void PushJournal::end_refusing(const std::string& name) {
  std::string common_dir;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = entries_.find(name);
    if (found == entries_.end()) return;
    common_dir = found->second.record.common_dir;
  }
  settle_as_dead(name, common_dir);
}

void PushJournal::settle_as_dead(const std::string& name, const std::string& common_dir) {
  leave_to_sweep(name);
  settle_dead(common_dir, 0);
}

void PushJournal::leave_to_sweep(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(name);
  if (found != entries_.end()) found->second.state = State::dead;
}

PushJournal::Swept PushJournal::sweep() {
  adopt();
  return settle_dead("", 0);
}

void PushJournal::adopt() {
  std::error_code error;
  for (fs::directory_iterator entry(directory_, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (!name.ends_with(kSuffix)) {
      // Cut short: nothing was begun. Unless a server that drains beside us is writing it now.
      if (name.ends_with(".tmp") && !child_of_name_runs(name)) ::unlink(entry->path().c_str());
      continue;
    }
    {
      const std::scoped_lock lock(mutex_);
      if (entries_.contains(name)) continue;
    }
    const std::optional<std::string> text = read_record(entry->path());
    if (!text) {
      io::log_event(io::LogLevel::warn, "push record cannot be read, left: " + name);
      continue;
    }
    std::optional<PushRecord> record = PushRecord::parse(*text);
    if (!record) {
      io::log_event(io::LogLevel::warn, "push record is damaged, removed: " + name);
      ::unlink(entry->path().c_str());
      continue;
    }
    const std::scoped_lock lock(mutex_);
    entries_.try_emplace(name, Entry{std::move(*record), State::adopted});
  }
}

PushJournal::Swept PushJournal::settle_dead(const std::string& common_dir, pid_t except) {
  std::vector<std::pair<std::string, PushRecord>> candidates;
  std::vector<PushRecord> ours;
  {
    const std::scoped_lock lock(mutex_);
    const auto is_ours = [](const auto& entry) { return entry.second.state == State::ours; };
    if (std::ranges::all_of(entries_, is_ours)) return {};  // nearly always
    for (const auto& [name, entry] : entries_) {
      if (!common_dir.empty() && entry.record.common_dir != common_dir) continue;
      if (entry.state == State::ours) {
        ours.push_back(entry.record);
      } else {
        candidates.emplace_back(name, entry.record);
      }
    }
  }
  Swept swept;
  for (const auto& [name, record] : candidates) {
    if (::access((directory_ + "/" + name).c_str(), F_OK) != 0) {  // settled by whose it was
      remove_record(name);
      continue;
    }
    if (record.child_runs()) {
      ++swept.running;
      continue;
    }
    std::vector<PushRecord> live;
    for (const PushRecord& other : ours) {
      if (other.common_dir == record.common_dir) live.push_back(other);
    }
    const Leftovers leftovers = remove_leftovers(record, except, live);
    swept.leftovers.locks += leftovers.locks;
    swept.leftovers.quarantines += leftovers.quarantines;
    swept.leftovers.kept += leftovers.kept;
    locks_removed_.add(leftovers.locks);
    quarantines_removed_.add(leftovers.quarantines);
    if (leftovers.locks + leftovers.quarantines > 0) {
      io::log_event(io::LogLevel::warn,
                    "removed what a dead push left (request " + record.request_id +
                        "): " + std::to_string(leftovers.locks) + " locks, " +
                        std::to_string(leftovers.quarantines) + " quarantine folders");
    }
    if (leftovers.kept > 0) {
      postponed_.add();
      continue;
    }
    sync_removals(record.common_dir);
    remove_record(name);
    ++swept.records;
  }
  return swept;
}

}  // namespace weir::git
