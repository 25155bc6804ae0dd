#include "tests/sim/simulated_spawner.h"

#include <signal.h>

#include <array>
#include <utility>

#include "io/fd_ops.h"

namespace weir::io {

class SimulatedSpawner::Handle final : public Subprocess {
 public:
  Handle(SimulatedSpawner& owner, std::shared_ptr<ChildProcess> child, pid_t pid)
      : owner_(owner), child_(std::move(child)) {
    pid_ = pid;
    start_ticks_ = 1;
    const auto open = [](const std::pair<int, int>& ends, int& ours, int& theirs) {
      ours = ends.first;
      theirs = ends.second;
    };
    SimulatedBackend& backend = owner_.backend_;
    const auto input = backend.pipe();
    stdin_fd_ = input.second;
    child_->stdin_fd = input.first;
    open(backend.pipe(), stdout_fd_, child_->stdout_fd);
    if (!child_->spec.merge_stderr) open(backend.pipe(), stderr_fd_, child_->stderr_fd);
    if (child_->spec.channel) open(backend.channel(), channel_fd_, child_->channel_fd);
    child_->handle = this;
  }
  ~Handle() override {
    child_->handle = nullptr;
    if (!child_->ended && !child_->finishing) child_->kill.request_stop();
    close_stdin();
    close_channel();
    for (const int fd : {stdout_fd_, stderr_fd_}) {
      if (fd < 0) continue;
      if (child_->finishing && !child_->ended) {
        owner_.scope_.spawn(owner_.drain(fd));
      } else {
        owner_.backend_.discard(fd);
      }
    }
  }
  void close_stdin() override { close(stdin_fd_); }
  void close_channel() override { close(channel_fd_); }
  void kill(int signal) override {
    if (signal == SIGKILL) child_->kill.request_stop();
  }
  Task<Result<ExitStatus>> wait(StopToken stop, Deadline deadline) override {
    while (!child_->ended) {
      const Result<void> woken = co_await child_->end.wait(stop, deadline);
      if (!woken) co_return std::unexpected(woken.error());
    }
    if (child_->lost) co_return fail(Errc::unavailable, "launcher died: exit status unknown");
    co_return child_->status;
  }
  void release_to_finish() override { child_->finishing = true; }
  void ended() { exited_ = true; }

 private:
  void close(int& fd) {
    if (fd >= 0) owner_.backend_.discard(fd);
    fd = -1;
  }
  SimulatedSpawner& owner_;
  const std::shared_ptr<ChildProcess> child_;
};

Task<Result<std::unique_ptr<Subprocess>>> SimulatedSpawner::spawn(SubprocessSpec spec,
                                                                  Deadline deadline) {
  const ChildPrograms::Start start = programs_.start_of(spec);
  if (loop_.now() < serves_from_) co_return fail(Errc::unavailable, "launcher");
  const std::uint64_t launcher = launcher_;
  const Deadline started = Deadline::after(loop_.now(), start.delay);
  (void)co_await sleep_until({std::min(started.at, deadline.at)}, {});
  if (launcher != launcher_) co_return fail(Errc::unavailable, "launcher");
  if (started.at > deadline.at) co_return fail(Errc::deadline_exceeded, "spawn");
  if (start.sys_errno != 0) co_return fail(Errc::system, "start child", start.sys_errno);
  const auto child = std::make_shared<ChildProcess>();
  child->spec = std::move(spec);
  child->dies_in = start.dies_in;
  const pid_t pid = ++last_pid_;
  std::unique_ptr<Subprocess> handle = std::make_unique<Handle>(*this, child, pid);
  children_.emplace(pid, child);
  scope_.spawn(live(child));
  co_return handle;
}

Task<void> SimulatedSpawner::live(std::shared_ptr<ChildProcess> child) {
  child->status = co_await programs_.run(*child);
  if (child->kill.stopped()) {
    (void)co_await sleep_until(Deadline::after(loop_.now(), child->dies_in), {});
    child->status = {.code = 128 + SIGKILL, .signalled = true};
  }
  for (const int fd : {child->stdin_fd, child->stdout_fd, child->stderr_fd, child->channel_fd}) {
    if (fd >= 0) backend_.discard(fd);
  }
  (void)co_await sleep_until(Deadline::after(loop_.now(), random_.duration_up_to(20ms)), {});
  child->ended = true;
  if (child->handle != nullptr) static_cast<Handle*>(child->handle)->ended();
  child->end.notify();
  std::erase_if(children_, [&](const auto& entry) { return entry.second == child; });
}

Task<void> SimulatedSpawner::drain(int fd) {
  std::array<std::uint8_t, 4096> nowhere;
  for (;;) {
    const Result<std::size_t> got = co_await read_some(fd, nowhere);
    if (!got || *got == 0) break;
  }
  backend_.discard(fd);
}

void SimulatedSpawner::die(Duration absent) {
  ++launcher_;
  serves_from_ = loop_.now() + absent;
  for (const auto& [pid, child] : std::map(children_)) {
    child->lost = true;
    if (!child->finishing) child->kill.request_stop();
  }
}

}  // namespace weir::io
