#include "git/worker_pool.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>

#include "git/worker_protocol.h"
#include "io/async_semaphore.h"
#include "io/fd_ops.h"
#include "io/metrics.h"
#include "io/task_scope.h"

namespace weir::git {
namespace {

// A caller without a deadline waits this long for a worker that does not answer.
constexpr io::Duration kRequestTimeMax = std::chrono::minutes(2);
// The worker ends by itself a little before we kill it: its answer says what it was at.
constexpr io::Duration kKillGrace = std::chrono::milliseconds(500);
constexpr io::Duration kCloseGrace = std::chrono::seconds(5);
constexpr io::Duration kPackTimeMax = std::chrono::minutes(10);
constexpr std::uint64_t kWorkerFilesMax = 4096;  // open packs of kDatabasesMax repositories

// Sanitizers keep terabytes of shadow memory that RLIMIT_DATA counts.
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kDataLimited = false;
#else
constexpr bool kDataLimited = true;
#endif

io::Errc errc_of(WorkerStatus status) {
  switch (status) {
    case WorkerStatus::not_found:
      return io::Errc::not_found;
    case WorkerStatus::corrupt:
      return io::Errc::corrupt;
    case WorkerStatus::limit:
      return io::Errc::limit;
    case WorkerStatus::late:
      return io::Errc::deadline_exceeded;
    default:
      return io::Errc::unavailable;
  }
}

struct Counters {
  io::Counter requests = io::Metrics::instance().counter("weir_git_worker_requests_total", "",
                                                         "Requests that loops sent to git workers");
  io::Counter restarts = io::Metrics::instance().counter("weir_git_worker_deaths_total", "",
                                                         "Git workers that died or were killed");
  io::Counter refused =
      io::Metrics::instance().counter("weir_git_worker_refused_total", "",
                                      "Requests that found the queue of a loop's workers full");
  io::Gauge waiting = io::Metrics::instance().gauge("weir_git_worker_waiting", "",
                                                    "Requests that wait for a git worker");
};

const Counters& counters() {
  static const Counters instance;
  return instance;
}

}  // namespace

struct WorkerPool::Impl {
  struct Worker {
    explicit Worker(int limit) : turn(1, static_cast<std::size_t>(limit)) {}
    io::AsyncSemaphore turn;
    std::unique_ptr<io::Subprocess> child;
  };

  Impl(io::EventLoop& its_loop, io::Spawner& its_launcher, WorkerPoolOptions its_options)
      : loop(its_loop), launcher(its_launcher), options(std::move(its_options)) {
    counters();
    for (int i = 0; i < std::max(1, options.workers); ++i) {
      workers.push_back(std::make_unique<Worker>(kWorkerQueueMax));
    }
  }

  Worker& worker_of(const Repository& repository) {
    return *workers[RepositoryIdHash{}(repository.id) % workers.size()];
  }

  // `stops`: the caller's stop ends a request that is under way (by killing the worker); else it is
  // short and finishes, so that a client that leaves costs nobody a warm worker.
  io::Task<io::Result<WorkerReply>> call(std::shared_ptr<const Repository> repository,
                                         WorkerRequest request, bool stops, io::StopToken stop,
                                         io::Deadline deadline);
  io::Task<io::Result<void>> start(Worker& worker, io::Deadline deadline);
  io::Task<io::Result<WorkerReply>> exchange(Worker& worker, const std::string& frame,
                                             io::StopToken stop, io::Deadline deadline);
  io::Task<void> discard(Worker& worker);
  io::Task<void> run_pack(std::shared_ptr<const Repository> repository,
                          std::move_only_function<void(bool)> done);
  io::Task<bool> pack(const Repository& repository);

  io::EventLoop& loop;
  io::Spawner& launcher;
  const WorkerPoolOptions options;
  std::vector<std::unique_ptr<Worker>> workers;
  std::size_t queued = 0;
  bool closing = false;
  io::TaskScope jobs;
};

io::Task<io::Result<void>> WorkerPool::Impl::start(Worker& worker, io::Deadline deadline) {
  io::SubprocessSpec spec;
  spec.argv = {options.weir_path, "git-worker", "--git", options.git_path};
  spec.env = {"LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin"};
  spec.data_bytes_max = kDataLimited ? options.data_bytes_max : 0;
  spec.files_max = kWorkerFilesMax;
  spec.channel = true;
  auto child = co_await launcher.spawn(std::move(spec), deadline);
  if (!child) co_return std::unexpected(child.error());
  worker.child = std::move(*child);
  co_return io::Result<void>{};
}

io::Task<void> WorkerPool::Impl::discard(Worker& worker) {
  if (worker.child == nullptr) co_return;
  worker.child->close_channel();
  counters().restarts.add();
  worker.child->kill(SIGKILL);
  co_await worker.child->wait({}, io::Deadline::after(loop.now(), kCloseGrace));
  worker.child.reset();
}

io::Task<io::Result<WorkerReply>> WorkerPool::Impl::exchange(Worker& worker,
                                                             const std::string& frame,
                                                             io::StopToken stop,
                                                             io::Deadline deadline) {
  const int fd = worker.child->channel_fd();
  std::span<const std::uint8_t> rest(reinterpret_cast<const std::uint8_t*>(frame.data()),
                                     frame.size());
  while (!rest.empty()) {
    const auto wrote = co_await io::write_some(fd, rest, stop, deadline);
    if (!wrote && wrote.error().sys_errno == EAGAIN) {
      co_await io::poll_fd(fd, POLLOUT, stop, deadline);
      continue;
    }
    if (!wrote) co_return std::unexpected(wrote.error());
    rest = rest.subspan(*wrote);
  }
  std::string body(kFrameHeaderBytes, '\0');
  bool have_header = false;
  std::size_t got = 0;
  while (got < body.size() || !have_header) {
    if (got == body.size()) {
      const auto bytes = frame_body_bytes(body);
      if (!bytes) co_return io::fail(io::Errc::protocol, "git worker frame");
      body.assign(*bytes, '\0');
      have_header = true;
      got = 0;
      continue;
    }
    const std::span<std::uint8_t> into(reinterpret_cast<std::uint8_t*>(body.data()) + got,
                                       body.size() - got);
    const auto n = co_await io::read_some(fd, into, stop, deadline);
    if (!n && n.error().sys_errno == EAGAIN) {
      co_await io::poll_fd(fd, POLLIN, stop, deadline);
      continue;
    }
    if (!n) co_return std::unexpected(n.error());
    if (*n == 0) co_return io::fail(io::Errc::closed, "git worker");
    got += *n;
  }
  WorkerReply reply;
  if (!decode(body, reply)) co_return io::fail(io::Errc::protocol, "git worker reply");
  co_return reply;
}

io::Task<io::Result<WorkerReply>> WorkerPool::Impl::call(
    std::shared_ptr<const Repository> repository, WorkerRequest request, bool stops,
    io::StopToken stop, io::Deadline deadline) {
  if (closing) co_return io::fail(io::Errc::closed, "git workers");
  if (queued >= kWorkerQueueMax) {
    counters().refused.add();
    co_return io::fail(io::Errc::limit, "git worker queue");
  }
  Worker& worker = worker_of(*repository);
  ++queued;
  counters().waiting.add(1);
  auto turn = co_await worker.turn.acquire(stop, deadline);
  --queued;
  counters().waiting.add(-1);
  if (!turn) co_return std::unexpected(turn.error());
  if (closing) co_return io::fail(io::Errc::closed, "git workers");
  counters().requests.add();

  const io::Instant end = std::min(deadline.at, loop.now() + kRequestTimeMax);
  request.git_dir = repository->git_dir;
  request.common_dir = repository->common_dir;
  request.time_ms_max = static_cast<std::uint32_t>(std::max<std::int64_t>(
      0, std::chrono::duration_cast<std::chrono::milliseconds>(end - loop.now()).count()));
  const std::string frame = encode_frame(request);
  const io::StopToken under_way = stops ? stop : io::StopToken{};
  io::Error error{io::Errc::unavailable, 0, "git worker"};
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (worker.child != nullptr && worker.child->exited()) co_await discard(worker);
    if (worker.child == nullptr) {
      const auto started = co_await start(worker, {end});
      if (!started) co_return io::fail(io::Errc::unavailable, "start a git worker");
    }
    auto reply = co_await exchange(worker, frame, under_way, {end + kKillGrace});
    if (reply) co_return reply;
    error = reply.error();
    co_await discard(worker);
    if (error.code == io::Errc::cancelled || error.code == io::Errc::deadline_exceeded) {
      co_return std::unexpected(error);
    }
    if (closing) break;
  }
  co_return io::fail(io::Errc::unavailable, "git worker died");
}

WorkerPool::WorkerPool(io::EventLoop& loop, io::Spawner& launcher, WorkerPoolOptions options)
    : impl_(std::make_unique<Impl>(loop, launcher, std::move(options))) {}

WorkerPool::~WorkerPool() = default;

io::Task<io::Result<RepositoryConfig>> WorkerPool::read_config(
    std::shared_ptr<const Repository> repository, io::StopToken stop, io::Deadline deadline,
    std::string& problem) {
  WorkerRequest request;
  request.operation = WorkerOperation::read_config;
  auto reply = co_await impl_->call(repository, std::move(request), false, stop, deadline);
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->status != WorkerStatus::ok) {
    problem = std::move(reply->problem);
    co_return io::fail(errc_of(reply->status), "repository configuration");
  }
  co_return std::move(reply->config);
}

io::Task<io::Result<std::vector<ObjectId>>> WorkerPool::peel(
    std::shared_ptr<const Repository> repository, ObjectFormat format, std::vector<ObjectId> ids,
    io::StopToken stop, io::Deadline deadline) {
  std::vector<ObjectId> peeled;
  peeled.reserve(ids.size());
  for (std::size_t at = 0; at < ids.size();) {
    const std::size_t count = std::min(kPeelIdsMax, ids.size() - at);
    WorkerRequest request;
    request.operation = WorkerOperation::peel;
    request.format = format;
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(at);
    request.ids.assign(first, first + static_cast<std::ptrdiff_t>(count));
    auto reply = co_await impl_->call(repository, std::move(request), false, stop, deadline);
    if (!reply) co_return std::unexpected(reply.error());
    if (reply->status != WorkerStatus::ok || reply->ids.size() != count) {
      co_return io::fail(errc_of(reply->status), "peel tags");
    }
    peeled.insert(peeled.end(), reply->ids.begin(), reply->ids.end());
    at += count;
  }
  co_return peeled;
}

io::Task<io::Result<WantVerdict>> WorkerPool::check_wants(
    std::shared_ptr<const Repository> repository, ObjectFormat format, std::vector<ObjectId> wants,
    std::vector<ObjectId> tips, std::string tips_digest, bool allow_trees_and_blobs,
    ObjectId& refused, io::StopToken stop, io::Deadline deadline) {
  WorkerRequest request;
  request.operation = WorkerOperation::check_wants;
  request.format = format;
  request.ids = std::move(wants);
  request.tips_digest = std::move(tips_digest);
  request.allow_trees_and_blobs = allow_trees_and_blobs;
  auto reply = co_await impl_->call(repository, request, true, stop, deadline);
  if (reply && reply->status == WorkerStatus::need_tips) {
    request.has_tips = true;
    request.tips = std::move(tips);
    reply = co_await impl_->call(repository, std::move(request), true, stop, deadline);
  }
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->status != WorkerStatus::ok) {
    co_return io::fail(errc_of(reply->status), "check wants");
  }
  if (reply->ids.empty()) co_return WantVerdict::allowed;
  refused = reply->ids.front();
  co_return WantVerdict::refused;
}

io::Task<io::Result<LooseRefs>> WorkerPool::list_refs(std::shared_ptr<const Repository> repository,
                                                      io::StopToken stop, io::Deadline deadline,
                                                      std::string& problem) {
  WorkerRequest request;
  request.operation = WorkerOperation::list_refs;
  auto reply = co_await impl_->call(repository, std::move(request), false, stop, deadline);
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->status != WorkerStatus::ok) {
    problem = std::move(reply->problem);
    co_return io::fail(errc_of(reply->status), "list refs");
  }
  co_return std::move(reply->refs);
}

io::Task<bool> WorkerPool::Impl::pack(const Repository& repository) {
  io::SubprocessSpec spec;
  spec.argv = {options.git_path, "pack-refs", "--all", "--prune"};
  spec.env = {"GIT_DIR=" + repository.git_dir,
              "GIT_CONFIG_NOSYSTEM=1",
              "GIT_CONFIG_GLOBAL=/dev/null",
              "GIT_TERMINAL_PROMPT=0",
              "LC_ALL=C",
              "PATH=/usr/local/bin:/usr/bin:/bin"};
  spec.merge_stderr = true;
  spec.may_finish = true;
  spec.rights = io::ChildRights::read_write;
  spec.write_paths = writable_folders(repository);
  const io::Deadline deadline = io::Deadline::after(loop.now(), kPackTimeMax);
  auto child = co_await launcher.spawn(std::move(spec), deadline);
  if (!child) co_return false;
  (*child)->close_stdin();
  // Not killed when we end: nobody would remove its lock, which stops later deletions of refs.
  (*child)->release_to_finish();
  const io::StopToken stop = jobs.token();
  const auto status = co_await (*child)->wait(stop, deadline);
  if (!status && status.error().code == io::Errc::deadline_exceeded) (*child)->kill(SIGKILL);
  co_return status.has_value() && status->code == 0;
}

io::Task<void> WorkerPool::Impl::run_pack(std::shared_ptr<const Repository> repository,
                                          std::move_only_function<void(bool)> done) {
  const bool packed = co_await pack(*repository);
  done(packed);
}

bool WorkerPool::pack_refs(std::shared_ptr<const Repository> repository,
                           std::move_only_function<void(bool)> done) {
  if (impl_->closing || impl_->jobs.running() > 0) return false;
  impl_->jobs.spawn(impl_->run_pack(std::move(repository), std::move(done)));
  return true;
}

io::Task<void> WorkerPool::close() {
  impl_->closing = true;
  impl_->jobs.request_stop();
  for (auto& worker : impl_->workers) {
    // Its end of the socket tells a worker to leave; the request under way is waited for.
    auto turn =
        co_await worker->turn.acquire({}, io::Deadline::after(impl_->loop.now(), kCloseGrace));
    if (!turn) {
      if (worker->child != nullptr) worker->child->kill(SIGKILL);
      turn = co_await worker->turn.acquire();
    }
    if (worker->child == nullptr) continue;
    worker->child->close_channel();
    const auto ended =
        co_await worker->child->wait({}, io::Deadline::after(impl_->loop.now(), kCloseGrace));
    if (!ended && worker->child != nullptr) worker->child->kill(SIGKILL);
    worker->child.reset();
  }
  co_await impl_->jobs.join();
}

std::size_t WorkerPool::queued() const {
  return impl_->queued;
}

}  // namespace weir::git
