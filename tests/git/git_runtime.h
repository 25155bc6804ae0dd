#pragma once
// GitRuntime: a launcher process, a loop turned by the test, its workers and a blocking pool: what
// the git library stands on in a server. One per test.

#include <signal.h>
#include <sys/wait.h>

#include <memory>
#include <utility>

#include "git/worker_pool.h"
#include "io/blocking_pool.h"
#include "io/descriptor_passing.h"
#include "io/launcher.h"
#include "io/subprocess.h"
#include "tests/io/test_loop.h"

namespace weir::git {

class GitRuntime {
 public:
  explicit GitRuntime(std::string weir_path = WEIR_TEST_WORKER) {
    signal(SIGPIPE, SIG_IGN);  // as in the server: writing to a dead worker is an error
    auto sockets = io::make_message_socket_pair();
    if (!sockets) std::abort();
    launcher_pid_ = fork();
    if (launcher_pid_ == 0) io::run_launcher({(*sockets)[1].get()}, -1);
    (*sockets)[1].reset();
    loop = std::make_unique<io::TestLoop>();
    launcher = std::make_unique<io::LauncherClient>(loop->loop, (*sockets)[0].release());
    WorkerPoolOptions options;
    options.weir_path = std::move(weir_path);
    options.git_path = "/usr/bin/git";
    workers = std::make_unique<WorkerPool>(loop->loop, *launcher, options);
  }
  ~GitRuntime() {
    loop->run(workers->close());
    workers.reset();
    loop->run(launcher->close());
    launcher.reset();
    int status = 0;
    waitpid(launcher_pid_, &status, 0);
    EXPECT_EQ(status, 0);
  }
  GitRuntime(const GitRuntime&) = delete;
  GitRuntime& operator=(const GitRuntime&) = delete;

  io::Deadline patience() const {
    return io::Deadline::after(loop->clock.now(), io::kTestPatience);
  }

  std::unique_ptr<io::TestLoop> loop;
  std::unique_ptr<io::LauncherClient> launcher;
  std::unique_ptr<WorkerPool> workers;
  io::BlockingThreads blocking{1};

 private:
  pid_t launcher_pid_ = -1;
};

}  // namespace weir::git
