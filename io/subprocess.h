#pragma once
// Subprocess and Spawner: children of the server. LauncherClient has them made by the launcher
// process, so that no loop process ever forks. One LauncherClient per loop thread, over a SEQPACKET
// socket to the launcher. Children: own process group, pidfd, stdio on 1 MiB pipes, if wanted a
// socket to us, closed descriptors, no_new_privs, rlimits, nice. If the launcher dies, spawns in
// flight end with Errc::unavailable and reconnect() takes the socket of the next one; running
// children are killed by the kernel (PDEATHSIG, unless SubprocessSpec::may_finish) and by us
// (unless they are finishing). Wire format: io/launcher_protocol.h.

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/error.h"
#include "io/event_loop.h"
#include "io/signal.h"
#include "io/stop_token.h"
#include "io/task.h"

namespace weir::io {

inline constexpr std::size_t kChildPipeBytes = 1024 * 1024;  // fewer wake-ups for bulk output

// Which sandbox the launcher puts a child in (io/child_sandbox.h), if it was given one.
enum class ChildRights : std::uint8_t { read_only, read_write };

struct SubprocessSpec {
  std::vector<std::string> argv;  // argv[0]: absolute path of the program
  std::vector<std::string> env;   // "KEY=value"; nothing is inherited
  std::string working_directory;  // absolute; empty: "/"
  ChildRights rights = ChildRights::read_only;
  std::vector<std::string> write_paths;  // of a read_write child: absolute folders
  int nice = 10;
  std::uint64_t cpu_s_max = 0;       // RLIMIT_CPU; 0: none
  std::uint64_t data_bytes_max = 0;  // RLIMIT_DATA (heap, not mapped files); 0: none
  std::uint64_t file_bytes_max = 0;  // RLIMIT_FSIZE; 0: none
  std::uint64_t files_max = 1024;    // RLIMIT_NOFILE
  bool merge_stderr = false;         // stderr into stdout (hook output)
  // The child may be let finish later (a push): then the kernel does not kill it with its launcher.
  bool may_finish = false;
  bool channel = false;              // a stream socket to us as the child's descriptor 3 (workers)
  bool channel_of_messages = false;  // then it is a SEQPACKET one, which keeps their boundaries
};

struct ExitStatus {
  int code = 0;  // exit code, or 128 + signal
  bool signalled = false;
  std::uint64_t cpu_us = 0;  // user + system, children included
  std::uint64_t rss_bytes_max = 0;
};

// A running or ended child. Loop thread only. Destroying it kills the process group if it still
// runs (unless release_to_finish() was called) and closes our ends.
class Subprocess {
 public:
  virtual ~Subprocess() = default;
  pid_t pid() const { return pid_; }
  std::uint64_t start_ticks() const { return start_ticks_; }  // /proc/<pid>/stat field 22
  int stdin_fd() const { return stdin_fd_; }                  // -1 once closed
  int stdout_fd() const { return stdout_fd_; }
  int stderr_fd() const { return stderr_fd_; }    // -1 when merged
  int channel_fd() const { return channel_fd_; }  // -1 unless asked for, and once closed
  virtual void close_stdin() = 0;
  virtual void close_channel() = 0;
  // Signals the whole process group.
  virtual void kill(int signal) = 0;
  bool exited() const { return exited_; }
  // After a stop or deadline the child still runs; the caller decides. Errc::unavailable: the
  // launcher died; the process has ended, but how is not known.
  virtual Task<Result<ExitStatus>> wait(StopToken stop, Deadline deadline) = 0;
  // From now on the child may finish although we die or let go of it (a push with complete input).
  virtual void release_to_finish() = 0;

 protected:
  pid_t pid_ = -1;
  std::uint64_t start_ticks_ = 0;
  int stdin_fd_ = -1, stdout_fd_ = -1, stderr_fd_ = -1, channel_fd_ = -1;
  bool exited_ = false;
};

// Who makes children. Loop thread only.
class Spawner {
 public:
  virtual ~Spawner() = default;
  // Our ends of its pipes and channel are non-blocking, the child's blocking.
  virtual Task<Result<std::unique_ptr<Subprocess>>> spawn(SubprocessSpec spec,
                                                          Deadline deadline) = 0;
};

class LauncherClient final : public Spawner {
 public:
  LauncherClient(EventLoop& loop, int socket_fd);
  ~LauncherClient() override;

  // Pipes are made here (kChildPipeBytes).
  Task<Result<std::unique_ptr<Subprocess>>> spawn(SubprocessSpec spec, Deadline deadline) override;
  // Replaces a dead launcher's socket. Loop thread.
  void reconnect(int socket_fd);
  // Ends the client: no further spawns; waits until its receive has been joined.
  Task<void> close();
  std::size_t children() const;

 private:
  class Child;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::io
