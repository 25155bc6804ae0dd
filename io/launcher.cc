#include "io/launcher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <list>

#include "io/check.h"
#include "io/descriptor_passing.h"
#include "io/launcher_child.h"
#include "io/launcher_protocol.h"
#include "io/log.h"
#include "io/process_identity.h"

namespace weir::io {
namespace {

constexpr int kDescriptorsFrom = 10;     // ours and received ones stay clear of the children's 0..3
constexpr int kMessagesPerTurnMax = 16;  // of one client, before the others have their turn
constexpr const char* kChildOomScore = "500";  // a child goes before the server

struct Client {
  explicit Client(int fd) : socket(fd) {}
  struct Outgoing {
    std::vector<std::uint8_t> bytes;
    UniqueFd descriptor;
  };
  UniqueFd socket;
  std::deque<Outgoing> replies;  // empty unless the client is slow; at most two a child
  std::size_t children = 0;
};

struct Child {
  std::uint64_t id = 0;
  Client* client = nullptr;  // null: gone
  pid_t pid = -1;
  bool finishing = false;
  bool draining = false;          // nobody else reads `outputs`
  std::vector<UniqueFd> outputs;  // of a finishing child: our copies of the read ends
};

class Launcher {
 public:
  Launcher(const std::vector<int>& client_sockets, int control_fd,
           std::optional<ChildSandbox> sandbox)
      : control_(control_fd), sandbox_(std::move(sandbox)) {
    for (const int fd : client_sockets) clients_.emplace_back(fd);
    sigset_t child_signal;
    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    WEIR_CHECK(sigprocmask(SIG_SETMASK, &child_signal, nullptr) == 0);
    signals_.reset(signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK));
    WEIR_CHECK(signals_.valid());
  }

  void run() {
    while (!clients_.empty() || control_.valid() || !children_.empty()) turn();
  }

 private:
  void turn();
  void serve(Client& client);
  void handle(Client& client, const LauncherRequest& request, std::vector<UniqueFd> descriptors,
              bool descriptors_lost);
  void spawn(Client& client, const SpawnRequest& request, std::vector<UniqueFd> descriptors,
             bool descriptors_lost);
  void reply(Client& client, const LauncherReply& message, UniqueFd descriptor = {});
  void flush(Client& client);
  void client_gone(Client& client);
  void reap();
  Child* find(const Client& client, std::uint64_t id);

  std::list<Client> clients_;
  UniqueFd control_;
  UniqueFd signals_;
  const std::optional<ChildSandbox> sandbox_;
  std::list<Child> children_;
};

void Launcher::turn() {
  std::vector<pollfd> polled = {{signals_.get(), POLLIN, 0}, {control_.get(), POLLIN, 0}};
  std::vector<Client*> polled_clients;
  for (Client& client : clients_) {
    const short events = client.replies.empty() ? POLLIN : POLLOUT;
    polled.push_back({client.socket.get(), events, 0});
    polled_clients.push_back(&client);
  }
  std::vector<UniqueFd*> polled_outputs;
  for (Child& child : children_) {
    if (!child.draining) continue;
    for (UniqueFd& output : child.outputs) {
      if (!output.valid()) continue;
      polled.push_back({output.get(), POLLIN, 0});
      polled_outputs.push_back(&output);
    }
  }
  if (poll(polled.data(), polled.size(), -1) < 0) {
    WEIR_CHECK(errno == EINTR || errno == ENOMEM);
    return;
  }
  for (std::size_t i = 0; i < polled_outputs.size(); ++i) {  // first: reap() frees them
    if (polled[2 + polled_clients.size() + i].revents == 0) continue;
    char nowhere[65536];
    const ssize_t bytes = read(polled_outputs[i]->get(), nowhere, sizeof nowhere);
    if (bytes == 0 || (bytes < 0 && errno != EAGAIN && errno != EINTR)) polled_outputs[i]->reset();
  }
  if (polled[0].revents != 0) reap();
  if (polled[1].revents != 0) {
    std::uint8_t ignored[16];
    const Result<ReceivedMessage> message = receive_message(control_.get(), ignored);
    if (!message && message.error().code != Errc::protocol) control_.reset();
  }
  for (std::size_t i = 0; i < polled_clients.size(); ++i) {
    if (polled[2 + i].revents != 0) serve(*polled_clients[i]);
  }
}

void Launcher::serve(Client& client) {
  flush(client);
  static std::vector<std::uint8_t> buffer(kLauncherMessageBytesMax);
  for (int n = 0; n < kMessagesPerTurnMax && client.replies.empty(); ++n) {
    Result<ReceivedMessage> message = receive_message(client.socket.get(), buffer);
    if (!message) return client_gone(client);
    if (message->bytes == 0) return;
    const Result<LauncherRequest> request = decode_request(std::span(buffer).first(message->bytes));
    if (!request) {
      log_event(LogLevel::error, "launcher: a client broke the protocol and is cut off");
      return client_gone(client);
    }
    handle(client, *request, std::move(message->descriptors), message->descriptors_lost);
  }
}

Child* Launcher::find(const Client& client, std::uint64_t id) {
  const auto found = std::ranges::find_if(
      children_, [&](const Child& child) { return child.client == &client && child.id == id; });
  return found == children_.end() ? nullptr : &*found;
}

void Launcher::handle(Client& client, const LauncherRequest& request,
                      std::vector<UniqueFd> descriptors, bool descriptors_lost) {
  if (const auto* spawn_request = std::get_if<SpawnRequest>(&request)) {
    return spawn(client, *spawn_request, std::move(descriptors), descriptors_lost);
  }
  // A child that has just ended is no error: the exit and the request crossed.
  if (const auto* finish = std::get_if<FinishRequest>(&request)) {
    if (Child* child = find(client, finish->id)) {
      child->finishing = true;
      child->outputs = std::move(descriptors);
    }
  } else if (const auto* let_go = std::get_if<LetGoRequest>(&request)) {
    if (Child* child = find(client, let_go->id)) child->draining = child->finishing;
  } else if (const auto* kill_request = std::get_if<KillRequest>(&request)) {
    // Not reaped yet, so that the pid, and with it the group, is surely this child's.
    if (const Child* child = find(client, kill_request->id))
      kill(-child->pid, kill_request->signal);
  }
}

void Launcher::spawn(Client& client, const SpawnRequest& request, std::vector<UniqueFd> descriptors,
                     bool descriptors_lost) {
  const auto failed = [&](int sys_errno, const char* step) {
    reply(client, SpawnFailedReply{request.id, sys_errno, step});
  };
  if (descriptors_lost) return failed(EMFILE, "receive descriptors");
  if (descriptors.size() != request.descriptor_count()) return failed(EINVAL, "descriptors");
  if (client.children >= kChildrenPerClientMax) return failed(EAGAIN, "children of one client");
  std::vector<int> fds;
  for (UniqueFd& descriptor : descriptors) {
    if (descriptor.get() < kDescriptorsFrom) {
      descriptor.reset(fcntl(descriptor.get(), F_DUPFD_CLOEXEC, kDescriptorsFrom));
      if (!descriptor.valid()) return failed(errno, "fcntl");
    }
    fds.push_back(descriptor.get());
  }
  std::expected<StartedChild, ChildStartError> started =
      start_child(request.spec, fds, sandbox_ ? &*sandbox_ : nullptr);
  if (!started) return failed(started.error().sys_errno, started.error().step);
  const pid_t pid = started->pid;
  const UniqueFd oom(
      open(fmt::format("/proc/{}/oom_score_adj", pid).c_str(), O_WRONLY | O_CLOEXEC));
  if (oom.valid() && write(oom.get(), kChildOomScore, 3) < 0) {
    // Best effort: the child may have ended already.
  }
  children_.push_back({request.id, &client, pid, false, false, {}});
  ++client.children;
  reply(client, SpawnedReply{request.id, pid, process_start_ticks(pid)}, std::move(started->pidfd));
}

void Launcher::reply(Client& client, const LauncherReply& message, UniqueFd descriptor) {
  client.replies.push_back({encode(message), std::move(descriptor)});
  flush(client);
}

void Launcher::flush(Client& client) {
  while (!client.replies.empty()) {
    const Client::Outgoing& next = client.replies.front();
    const int fd = next.descriptor.get();
    const std::size_t count = next.descriptor.valid() ? 1 : 0;
    const Result<void> sent = send_message(client.socket.get(), next.bytes, {&fd, count});
    if (!sent && sent.error().code == Errc::limit) return;
    client.replies.pop_front();  // sent, or the client is dead: its end is seen by the next read
  }
}

void Launcher::client_gone(Client& client) {
  for (Child& child : children_) {
    if (child.client != &client) continue;
    child.client = nullptr;
    child.draining = child.finishing;
    if (!child.finishing) kill(-child.pid, SIGKILL);
  }
  clients_.remove_if([&](const Client& other) { return &other == &client; });
}

void Launcher::reap() {
  signalfd_siginfo ignored;
  while (read(signals_.get(), &ignored, sizeof ignored) > 0) {
  }
  for (;;) {
    siginfo_t ended = {};
    if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
    // What a killed child leaves behind in its group must not live on. The group is still its own.
    const auto found =
        std::ranges::find_if(children_, [&](const Child& c) { return c.pid == ended.si_pid; });
    if (found != children_.end() && ended.si_code != CLD_EXITED) kill(-ended.si_pid, SIGKILL);
    int status = 0;
    rusage usage = {};
    if (wait4(ended.si_pid, &status, WNOHANG, &usage) != ended.si_pid) return;
    if (found == children_.end()) continue;
    const auto micros = [](const timeval& time) {
      return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000U +
             static_cast<std::uint64_t>(time.tv_usec);
    };
    const ExitStatus exit_status = {
        .code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
        .signalled = WIFSIGNALED(status),
        .cpu_us = micros(usage.ru_utime) + micros(usage.ru_stime),
        .rss_bytes_max = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024U,
    };
    if (found->client != nullptr) {
      --found->client->children;
      reply(*found->client, ExitedReply{found->id, exit_status});
    }
    children_.erase(found);
  }
}

// Leaves 0, 1, 2 and the given ones open; returns the given ones moved out of the children's way.
void keep_only(std::vector<int>& clients, int& control_fd) {
  const auto move_up = [](int& fd) {
    if (fd < 0 || fd >= kDescriptorsFrom) return;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, kDescriptorsFrom);
    WEIR_CHECK(fd >= 0);
  };
  for (int& fd : clients) move_up(fd);
  move_up(control_fd);
  std::vector<int> kept = clients;
  if (control_fd >= 0) kept.push_back(control_fd);
  std::ranges::sort(kept);
  unsigned from = 3;
  for (const int fd : kept) {
    const auto keep = static_cast<unsigned>(fd);
    if (keep > from) WEIR_CHECK(close_range(from, keep - 1, 0) == 0);
    from = keep + 1;
  }
  WEIR_CHECK(close_range(from, ~0U, 0) == 0);
  int fd = -1;  // 0..9 are never free again, so that no received descriptor lands there
  do {
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    WEIR_CHECK(fd >= 0);
  } while (fd < kDescriptorsFrom);
  close(fd);
}

}  // namespace

void run_launcher(std::vector<int> client_sockets, int control_fd,
                  std::optional<SandboxPolicy> policy) {
  prctl(PR_SET_NAME, "weir-launcher");
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // The supervisor says when to end; signals to the whole group or unit are not for us.
  for (const int ignored : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) signal(ignored, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  keep_only(client_sockets, control_fd);
  std::optional<ChildSandbox> sandbox;
  if (policy) {
    Result<ChildSandbox> made = ChildSandbox::make(std::move(*policy));
    if (!made) {
      log_event(LogLevel::error, "launcher: " + to_string(made.error()));
      _exit(1);
    }
    sandbox = std::move(*made);
  }
  Launcher(client_sockets, control_fd, std::move(sandbox)).run();
  _exit(0);
}

}  // namespace weir::io
