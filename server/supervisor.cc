#include "server/supervisor.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "io/check.h"
#include "io/descriptor_passing.h"
#include "io/launcher.h"
#include "io/log.h"
#include "io/metrics.h"
#include "io/unique_fd.h"
#include "server/control_channel.h"

namespace weir::server {
namespace {

using io::Duration;
using io::Instant;
using io::LogLevel;
using io::UniqueFd;

constexpr Duration kStopWait = std::chrono::seconds(2);  // from "stop" to SIGKILL

Instant now() {
  return std::chrono::steady_clock::now();
}

int exit_code(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string describe_end(int status) {
  if (!WIFSIGNALED(status)) return fmt::format("exit code {}", WEXITSTATUS(status));
  return fmt::format("signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
}

// Tells systemd, when it asked to be told (Type=notify).
void notify_systemd(std::string_view state) {
  const char* path = getenv("NOTIFY_SOCKET");
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path == nullptr || path[0] == 0 || std::strlen(path) >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (path[0] == '@') address.sun_path[0] = 0;  // the abstract name space
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
         reinterpret_cast<const sockaddr*>(&address), bytes);
}

// One kind of process: the running one, and when the next is due if it died.
struct Child {
  pid_t pid = -1;
  UniqueFd control;
  Instant started;
  int quick_deaths = 0;
  std::optional<Instant> due;

  // After a death; returns how long the next one waits.
  Duration schedule() {
    quick_deaths = now() - started < kQuickDeath ? quick_deaths + 1 : 0;
    const Duration wait = restart_wait(quick_deaths);
    due = now() + wait;
    return wait;
  }
};

class Supervisor {
 public:
  Supervisor(SupervisorOptions options, const std::function<int(ServingProcessContext)>& main)
      : options_(std::move(options)), serving_main_(main) {}

  int run();

 private:
  bool prepare();
  void turn();
  int wait_ms() const;
  bool start_launcher(std::vector<UniqueFd>& serving_ends);
  void start_generation();
  bool start_serving(std::vector<UniqueFd> launcher_ends);
  void replace_launcher();
  [[noreturn]] void be_serving(UniqueFd control, std::vector<UniqueFd> launcher_ends);
  void take_signals();
  void asked_to_end();
  void reap();
  void serving_ended(int status);
  void launcher_ended(int status);
  void retire_launcher();
  void hear_serving();

  SupervisorOptions options_;
  const std::function<int(ServingProcessContext)>& serving_main_;
  UniqueFd signals_, metrics_, ticket_keys_;
  Child serving_, launcher_;
  std::vector<pid_t> retired_launchers_;  // their finishing children end in peace
  std::uint32_t starts_ = 0;
  bool ever_ready_ = false;
  int end_requests_ = 0;
  std::optional<Instant> kill_at_;    // of a serving process that was told to stop
  std::optional<Instant> finish_by_;  // set once the last serving process has ended
  int end_code_ = 0;
  std::optional<int> result_;
  std::int64_t started_unix_ns_ = io::SystemClock().unix_ns();
};

bool Supervisor::prepare() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGHUP, SIGTERM, SIGINT}) sigaddset(&set, number);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return false;
  signal(SIGPIPE, SIG_IGN);
  signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  // For the launcher and the serving process too. Its descriptors hold the ticket keys, and
  // children run as the same user.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  // What a dead launcher leaves behind becomes our child and is reaped, not a zombie of pid 1.
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  rlimit files = {};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  metrics_.reset(memfd_create("weir-metrics", MFD_CLOEXEC));
  ticket_keys_.reset(memfd_create("weir-ticket-keys", MFD_CLOEXEC));
  const auto bytes = static_cast<off_t>(io::Metrics::segment_bytes());
  return signals_.valid() && metrics_.valid() && ticket_keys_.valid() &&
         ftruncate(metrics_.get(), bytes) == 0;
}

int Supervisor::run() {
  WEIR_CHECK(options_.loops > 0);
  WEIR_CHECK(static_cast<std::size_t>(options_.loops) <= kControlDescriptorsMax);
  if (!prepare()) {
    io::log_event(LogLevel::error, fmt::format("supervisor cannot start: {}", strerror(errno)));
    return 1;
  }
  serving_.due = now();
  while (!result_) turn();
  return *result_;
}

void Supervisor::turn() {
  if (serving_.due && *serving_.due <= now()) start_generation();
  if (launcher_.due && *launcher_.due <= now()) replace_launcher();
  if (kill_at_ && *kill_at_ <= now()) {
    kill_at_.reset();
    if (serving_.pid > 0) kill(serving_.pid, SIGKILL);
  }
  if (finish_by_ && (retired_launchers_.empty() || *finish_by_ <= now())) {
    if (!retired_launchers_.empty()) {
      io::log_event(LogLevel::warn, "exiting although pushes without a client still run");
    }
    result_ = end_code_;
    return;
  }
  pollfd polled[] = {{signals_.get(), POLLIN, 0}, {serving_.control.get(), POLLIN, 0}};
  if (poll(polled, 2, wait_ms()) <= 0) return;
  if (polled[1].revents != 0) hear_serving();
  if (polled[0].revents != 0) take_signals();
}

int Supervisor::wait_ms() const {
  Instant next = Instant::max();
  for (const std::optional<Instant>& at : {serving_.due, launcher_.due, kill_at_, finish_by_}) {
    if (at) next = std::min(next, *at);
  }
  if (next == Instant::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

// Forks a launcher; `serving_ends` become its clients' sockets, one a loop.
bool Supervisor::start_launcher(std::vector<UniqueFd>& serving_ends) {
  auto control = io::make_message_socket_pair();
  if (!control) return false;
  std::vector<UniqueFd> launcher_ends;
  for (int i = 0; i < options_.loops; ++i) {
    auto ends = io::make_message_socket_pair();
    if (!ends) return false;
    launcher_ends.push_back(std::move((*ends)[0]));
    serving_ends.push_back(std::move((*ends)[1]));
  }
  const pid_t pid = fork();
  if (pid < 0) return false;
  if (pid == 0) {
    std::vector<int> sockets;
    for (UniqueFd& end : launcher_ends) sockets.push_back(end.release());
    io::run_launcher(std::move(sockets), (*control)[0].release(), options_.children);
  }
  launcher_.pid = pid;
  launcher_.control = std::move((*control)[1]);
  launcher_.started = now();
  launcher_.due.reset();
  io::log_event(LogLevel::info, fmt::format("launcher {} started", pid));
  return true;
}

void Supervisor::start_generation() {
  serving_.due.reset();
  retire_launcher();  // the one whose replacement was still to come
  std::vector<UniqueFd> serving_ends;
  if (start_launcher(serving_ends) && start_serving(std::move(serving_ends))) return;
  io::log_event(LogLevel::error, fmt::format("cannot start processes: {}", strerror(errno)));
  retire_launcher();
  serving_.started = now();
  serving_.schedule();
}

bool Supervisor::start_serving(std::vector<UniqueFd> launcher_ends) {
  auto control = io::make_message_socket_pair();
  if (!control) return false;
  const pid_t pid = fork();
  if (pid < 0) return false;
  if (pid == 0) {
    (*control)[0].reset();
    be_serving(std::move((*control)[1]), std::move(launcher_ends));
  }
  serving_.pid = pid;
  serving_.control = std::move((*control)[0]);
  serving_.started = now();
  ++starts_;
  io::log_event(LogLevel::info, fmt::format("serving process {} started", pid));
  return true;
}

void Supervisor::be_serving(UniqueFd control, std::vector<UniqueFd> launcher_ends) {
  prctl(PR_SET_NAME, "weir-serving");
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  // Signals to the terminal's or the unit's whole group are the supervisor's business.
  for (const int ignored : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) signal(ignored, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signals_.reset();
  launcher_.control.reset();
  serving_.control.reset();
  ServingProcessContext context;
  context.control_fd = control.release();
  for (UniqueFd& end : launcher_ends) context.launcher_fds.push_back(end.release());
  context.sockets = options_.sockets;
  context.metrics_fd = metrics_.get();
  context.ticket_keys_fd = ticket_keys_.get();
  context.starts = starts_;
  context.supervisor_started_unix_ns = started_unix_ns_;
  _exit(serving_main_(std::move(context)));
}

void Supervisor::replace_launcher() {
  launcher_.due.reset();
  if (serving_.pid < 0) return;  // the next generation brings its own
  std::vector<UniqueFd> serving_ends;
  std::vector<int> fds;
  if (start_launcher(serving_ends)) {
    for (const UniqueFd& end : serving_ends) fds.push_back(end.get());
    if (send_control(serving_.control.get(), ControlKind::launcher_sockets, fds)) return;
    retire_launcher();
  }
  io::log_event(LogLevel::error, "cannot replace the launcher");
  launcher_.started = now();
  launcher_.schedule();
}

void Supervisor::hear_serving() {
  std::uint8_t buffer[16];
  for (;;) {
    const io::Result<io::ReceivedMessage> message =
        io::receive_message(serving_.control.get(), buffer);
    if (!message) {
      if (message.error().code == io::Errc::protocol) continue;
      serving_.control.reset();  // it is dying: its death comes by signal
      return;
    }
    if (message->bytes == 0) return;
    if (buffer[0] != kControlReady) continue;
    if (!ever_ready_) notify_systemd("READY=1");
    ever_ready_ = true;
    io::log_event(LogLevel::info, fmt::format("serving process {} is ready", serving_.pid));
  }
}

void Supervisor::take_signals() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) {
      reap();
    } else if (info.ssi_signo == SIGHUP) {
      if (!send_control(serving_.control.get(), ControlKind::reload)) {
        io::log_event(LogLevel::warn, "reload: no serving process to tell");
      }
    } else {
      asked_to_end();
    }
  }
}

void Supervisor::asked_to_end() {
  ++end_requests_;
  if (serving_.pid < 0) {  // between two serving processes, or only pushes are left
    serving_.due.reset();
    retire_launcher();
    finish_by_ = end_requests_ == 1 ? now() + options_.finish_wait : now();
    return;
  }
  if (end_requests_ == 1) {
    notify_systemd("STOPPING=1");
    io::log_event(LogLevel::info, "draining");
    if (send_control(serving_.control.get(), ControlKind::drain)) return;
  }
  if (end_requests_ == 2) {
    io::log_event(LogLevel::info, "stopping at once");
    if (send_control(serving_.control.get(), ControlKind::stop)) {
      kill_at_ = now() + kStopWait;
      return;
    }
  }
  kill(serving_.pid, SIGKILL);
}

void Supervisor::reap() {
  int status = 0;
  for (pid_t pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid == serving_.pid) {
      serving_ended(status);
    } else if (pid == launcher_.pid) {
      launcher_ended(status);
    } else {
      std::erase(retired_launchers_, pid);  // or an orphan of theirs
    }
  }
}

void Supervisor::serving_ended(int status) {
  const pid_t pid = std::exchange(serving_.pid, -1);
  serving_.control.reset();
  retire_launcher();
  launcher_.due.reset();
  kill_at_.reset();
  const std::chrono::duration<double> lived = now() - serving_.started;
  const std::string text = fmt::format("serving process {} ended: {} after {:.1f} s", pid,
                                       describe_end(status), lived.count());
  const bool never_started = !ever_ready_ && WIFEXITED(status);
  if (end_requests_ > 0 || never_started) {
    io::log_event(never_started ? LogLevel::error : LogLevel::info, text);
    finish_by_ = now() + options_.finish_wait;
    end_code_ = exit_code(status);
    return;
  }
  const Duration wait = serving_.schedule();
  io::log_event(LogLevel::error, fmt::format("{}; the next one starts in {} ms", text,
                                             wait / std::chrono::milliseconds(1)));
}

void Supervisor::launcher_ended(int status) {
  const pid_t pid = std::exchange(launcher_.pid, -1);
  launcher_.control.reset();
  const Duration wait = launcher_.schedule();
  io::log_event(LogLevel::error,
                fmt::format("launcher {} ended: {}; the next one starts in {} ms", pid,
                            describe_end(status), wait / std::chrono::milliseconds(1)));
}

// Without our end of its control socket a launcher exits when its clients and children have.
void Supervisor::retire_launcher() {
  launcher_.control.reset();
  if (launcher_.pid > 0) retired_launchers_.push_back(std::exchange(launcher_.pid, -1));
}

}  // namespace

Duration restart_wait(int quick_deaths) {
  if (quick_deaths <= 1) return Duration::zero();
  const int doublings = std::min(quick_deaths - 2, 16);
  return std::min(kRestartWaitFirst * (1 << doublings), kRestartWaitMax);
}

int supervise(SupervisorOptions options,
              const std::function<int(ServingProcessContext)>& serving_main) {
  return Supervisor(std::move(options), serving_main).run();
}

}  // namespace weir::server
