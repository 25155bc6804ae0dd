#pragma once
// SimulatedSpawner: children without processes. A child is a coroutine (ChildPrograms) at the other
// ends of simulated pipes; it is started late or not at all, lives on for a while after SIGKILL as
// a real one can, and its exit is told some time after its pipes have ended. die() is the death of
// the launcher. Pids are beyond those a kernel gives. Owned by the run; at its end nothing runs.

#include <map>
#include <memory>
#include <vector>

#include "io/subprocess.h"
#include "io/task_scope.h"
#include "tests/sim/simulated_backend.h"

namespace weir::io {

// One child's side. Its program may use the ends until it returns.
struct ChildProcess {
  SubprocessSpec spec;
  int stdin_fd = -1, stdout_fd = -1, stderr_fd = -1, channel_fd = -1;
  StopToken killed() { return StopToken(kill); }
  StopSource kill;
  Duration dies_in{};  // after a kill

  Subprocess* handle = nullptr;  // until the server lets go of it
  bool finishing = false;
  bool ended = false;
  bool lost = false;
  ExitStatus status;
  Signal end;
};

class ChildPrograms {
 public:
  virtual ~ChildPrograms() = default;
  struct Start {
    int sys_errno = 0;  // not 0: it cannot be started
    Duration delay{};
    Duration dies_in{};
  };
  virtual Start start_of(const SubprocessSpec& spec) = 0;
  virtual Task<ExitStatus> run(ChildProcess& child) = 0;
};

class SimulatedSpawner final : public Spawner {
 public:
  SimulatedSpawner(EventLoop& loop, SimulatedBackend& backend, SeededRandom random,
                   ChildPrograms& programs)
      : loop_(loop), backend_(backend), random_(random), programs_(programs) {}
  ~SimulatedSpawner() override { WEIR_CHECK(children_.empty()); }

  Task<Result<std::unique_ptr<Subprocess>>> spawn(SubprocessSpec spec, Deadline deadline) override;
  // The launcher dies; the next one serves after `absent`.
  void die(Duration absent);
  std::int64_t running() const { return scope_.running(); }

 private:
  class Handle;
  Task<void> live(std::shared_ptr<ChildProcess> child);
  // Reads a finishing child's output to nowhere.
  Task<void> drain(int fd);

  EventLoop& loop_;
  SimulatedBackend& backend_;
  SeededRandom random_;
  ChildPrograms& programs_;
  std::uint64_t launcher_ = 1;  // which one it is
  Instant serves_from_{};
  pid_t last_pid_ = 1 << 30;
  std::map<pid_t, std::shared_ptr<ChildProcess>> children_;
  TaskScope scope_;
};

}  // namespace weir::io
