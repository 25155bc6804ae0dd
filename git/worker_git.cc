#include "git/worker_git.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "io/unique_fd.h"

namespace weir::git {
namespace {

struct Pipe {
  io::UniqueFd read;
  io::UniqueFd write;
  bool open() {
    std::array<int, 2> fds;
    if (pipe2(fds.data(), O_CLOEXEC) != 0) return false;
    read.reset(fds[0]);
    write.reset(fds[1]);
    return true;
  }
};

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> list;
  for (std::string& text : strings) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

int poll_timeout_ms(io::Instant deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1000));
}

}  // namespace

io::Result<void> GitRunner::run(std::vector<std::string> arguments, std::string_view input,
                                const Consumer& consumer) const {
  Pipe in;
  Pipe out;
  if (!in.open() || !out.open()) return io::fail(io::Errc::unavailable, "pipe to git", errno);
  arguments.insert(arguments.begin(), git_path_);
  std::vector<std::string> environment = {"GIT_DIR=" + git_dir_,
                                          "GIT_CONFIG_NOSYSTEM=1",
                                          "GIT_CONFIG_GLOBAL=/dev/null",
                                          "GIT_TERMINAL_PROMPT=0",
                                          "GIT_ALLOW_PROTOCOL=none",
                                          "GIT_NO_REPLACE_OBJECTS=1",
                                          "GIT_NO_LAZY_FETCH=1",
                                          "GIT_OPTIONAL_LOCKS=0",
                                          "LC_ALL=C",
                                          "PATH=/usr/local/bin:/usr/bin:/bin"};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.read.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, out.write.get(), 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, git_path_.c_str(), &actions, nullptr,
                                pointers(arguments).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return io::fail(io::Errc::unavailable, "start git", error);
  in.read.reset();
  out.write.reset();
  fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
  if (input.empty()) in.write.reset();

  bool enough = false;
  bool late = false;
  std::vector<char> buffer(65536);
  for (;;) {
    std::array<pollfd, 2> fds = {pollfd{out.read.get(), POLLIN, 0},
                                 pollfd{in.write.valid() ? in.write.get() : -1, POLLOUT, 0}};
    late = std::chrono::steady_clock::now() >= deadline_;
    if (late) break;
    if (::poll(fds.data(), fds.size(), poll_timeout_ms(deadline_)) < 0) {
      if (errno == EINTR) continue;
      break;
    }
    if (fds[1].revents != 0) {
      const ssize_t n = ::write(in.write.get(), input.data(), input.size());
      if (n > 0) input.remove_prefix(static_cast<std::size_t>(n));
      if (input.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) in.write.reset();
    }
    if (fds[0].revents != 0) {
      const ssize_t n = ::read(out.read.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      enough = !consumer({buffer.data(), static_cast<std::size_t>(n)});
      if (enough) break;
    }
  }
  if (enough || late) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (late) return io::fail(io::Errc::deadline_exceeded, "git in a worker");
  if (!enough && status != 0) return io::fail(io::Errc::unavailable, "git failed in a worker");
  return {};
}

io::Result<void> GitRunner::run_lines(std::vector<std::string> arguments, std::string_view input,
                                      const Consumer& consumer) const {
  std::string rest;
  return run(std::move(arguments), input, [&](std::string_view bytes) {
    rest += bytes;
    std::string_view lines = rest;
    for (std::size_t end; (end = lines.find('\n')) != std::string_view::npos;) {
      if (!consumer(lines.substr(0, end))) return false;
      lines.remove_prefix(end + 1);
    }
    rest.erase(0, rest.size() - lines.size());
    return true;
  });
}

io::Result<std::string> GitRunner::output(std::vector<std::string> arguments,
                                          std::string_view input, std::size_t bytes_max) const {
  std::string all;
  bool over = false;
  const auto ran = run(std::move(arguments), input, [&](std::string_view bytes) {
    over = all.size() + bytes.size() > bytes_max;
    if (!over) all += bytes;
    return !over;
  });
  if (!ran) return std::unexpected(ran.error());
  if (over) return io::fail(io::Errc::limit, "output of git in a worker");
  return all;
}

}  // namespace weir::git
