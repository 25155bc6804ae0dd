#include "git/sync_coalescer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "io/unique_fd.h"

namespace weir::git {
namespace {

struct OpenDirectory {
  io::UniqueFd fd;
  dev_t device = 0;
};

io::Result<OpenDirectory> open_directory(const std::string& path) {
  OpenDirectory directory{io::UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
                          0};
  struct stat status{};
  if (!directory.fd.valid() || ::fstat(directory.fd.get(), &status) != 0) {
    return io::fail_errno("open directory to sync");
  }
  directory.device = status.st_dev;
  return directory;
}

}  // namespace

struct SyncCoalescer::Batch {
  io::UniqueFd fd;
  std::vector<std::shared_ptr<LoopWaiter>> members;  // [0] leads: it runs the sync for all
  io::Result<void> result;                           // written before the members are woken
};

SyncCoalescer::SyncCoalescer(io::BlockingPool& pool)
    : SyncCoalescer(pool, [](int fd) { return ::syncfs(fd); }) {}

SyncCoalescer::SyncCoalescer(io::BlockingPool& pool, Sync sync)
    : pool_(pool), sync_(std::move(sync)) {
  io::Metrics& metrics = io::Metrics::instance();
  syncs_ = metrics.counter("weir_push_syncs_total", "", "syncfs calls that made pushes durable.");
  failures_ = metrics.counter("weir_push_sync_failures_total", "", "syncfs calls that failed.");
  duration_ = metrics.histogram("weir_push_sync_seconds", "", "Duration of one syncfs.");
}

io::Result<void> SyncCoalescer::sync_blocking(int fd) const {
  if (sync_(fd) != 0) return io::fail_errno("syncfs");
  return {};
}

io::Task<io::Result<void>> SyncCoalescer::sync(std::string directory) {
  auto open_job = [&directory] { return open_directory(directory); };
  io::Result<io::Result<OpenDirectory>> opened = co_await pool_.run(std::move(open_job));
  if (!opened) co_return std::unexpected(opened.error());
  if (!*opened) co_return std::unexpected(opened->error());
  const dev_t device = (*opened)->device;

  const auto self = std::make_shared<LoopWaiter>();
  std::shared_ptr<Batch> batch;
  bool wait = true;
  bool leads = false;
  {
    const std::scoped_lock lock(mutex_);
    const auto [entry, idle] = devices_.try_emplace(device);
    batch = entry->second.waiting;
    if (batch == nullptr) {
      leads = true;
      batch = std::make_shared<Batch>();
      batch->fd = std::move((*opened)->fd);
      if (idle) {
        wait = false;
      } else {
        entry->second.waiting = batch;
      }
    }
    batch->members.push_back(self);
  }
  if (wait) (void)co_await self->signal.wait();
  if (!leads) co_return batch->result;

  const io::Instant began = io::EventLoop::current().clock().now();
  auto sync_job = [this, &batch] { return sync_blocking(batch->fd.get()); };
  const io::Result<io::Result<void>> ran = co_await pool_.run(std::move(sync_job));
  batch->result = ran ? *ran : std::unexpected(ran.error());
  duration_.observe(io::EventLoop::current().clock().now() - began);
  syncs_.add();
  if (!batch->result) failures_.add();

  std::shared_ptr<LoopWaiter> next_leader;
  {
    const std::scoped_lock lock(mutex_);
    const auto entry = devices_.find(device);
    if (entry->second.waiting != nullptr) {
      // From here on nobody joins that batch: its sync may begin.
      next_leader = entry->second.waiting->members[0];
      entry->second.waiting = nullptr;
    } else {
      devices_.erase(entry);
    }
  }
  if (next_leader != nullptr) LoopWaiter::wake(std::move(next_leader));
  for (std::size_t i = 1; i < batch->members.size(); ++i) LoopWaiter::wake(batch->members[i]);
  co_return batch->result;
}

}  // namespace weir::git
