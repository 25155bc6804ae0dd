#include "io/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "io/check.h"
#include "io/descriptor_passing.h"
#include "io/fd_ops.h"
#include "io/launcher_protocol.h"
#include "io/task_scope.h"
#include "io/unique_fd.h"

namespace weir::io {
namespace {

constexpr std::size_t kQueuedMessagesMax =
    256;  // of spawns; kill and finish are bounded by children

struct Pipe {
  UniqueFd ours;
  UniqueFd childs;
};

Result<Pipe> make_pipe(bool child_reads, bool bulk) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  // Best effort: a user's pipe memory is limited, and a small pipe is only slower.
  if (bulk) fcntl(read_end.get(), F_SETPIPE_SZ, static_cast<int>(kChildPipeBytes));
  Pipe made;
  made.ours = std::move(child_reads ? write_end : read_end);
  made.childs = std::move(child_reads ? read_end : write_end);
  if (fcntl(made.ours.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("fcntl pipe");
  return made;
}

Result<Pipe> make_channel(bool of_messages) {
  int ends[2];
  const int type = of_messages ? SOCK_SEQPACKET : SOCK_STREAM;
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno("socketpair");
  Pipe made{UniqueFd(ends[0]), UniqueFd(ends[1])};
  if (fcntl(made.ours.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("fcntl socketpair");
  return made;
}

bool signal_process(int pidfd, int signal) {
  return syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0;
}

void close_end(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

}  // namespace

class LauncherClient::Child final : public Subprocess {
 public:
  Child(Impl& client, std::uint64_t id, void* connection)
      : client_(client), id_(id), connection_(connection) {}
  ~Child() override;
  void close_stdin() override { close_end(stdin_fd_); }
  void close_channel() override { close_end(channel_fd_); }
  void kill(int signal) override;
  Task<Result<ExitStatus>> wait(StopToken stop, Deadline deadline) override;
  void release_to_finish() override;

 private:
  friend class LauncherClient;
  friend struct Impl;
  void launcher_lost();

  Impl& client_;
  const std::uint64_t id_;
  void* const connection_;  // to the launcher that made it
  int pidfd_ = -1;
  bool finishing_ = false;
  bool lost_ = false;  // the launcher died: the exit status will never come
  ExitStatus status_;
  Signal exit_signal_;
};

struct LauncherClient::Impl {
  struct Outgoing {
    std::vector<std::uint8_t> bytes;
    std::vector<UniqueFd> descriptors;
  };
  // To one launcher. Owned by run(), which ends when the launcher dies or is replaced.
  struct Connection {
    explicit Connection(int fd) : socket(fd) {}
    UniqueFd socket;
    StopSource stop;
    TaskScope writers;  // at most one flush()
    std::deque<Outgoing> queue;
  };
  struct PendingSpawn {
    std::unique_ptr<Child> child;
    Connection* connection = nullptr;
    Signal answered;
    std::optional<Error> error;
  };

  explicit Impl(int socket_fd) : next(std::make_unique<Connection>(socket_fd)) {}

  void ensure_running();
  Task<void> run(std::unique_ptr<Connection> connection);
  bool receive(Connection& connection, std::span<std::uint8_t> buffer);
  void handle(Connection& connection, const LauncherReply& reply,
              std::vector<UniqueFd> descriptors);
  bool send(Connection& connection, Outgoing message);
  bool request(const Child& child, const LauncherRequest& what,
               std::vector<UniqueFd> descriptors = {});
  Task<void> flush(Connection& connection);
  void lost(Connection& connection);

  std::unique_ptr<Connection> next;  // not in use yet
  Connection* current = nullptr;
  bool closed = false;
  std::uint64_t last_id = 0;
  std::map<std::uint64_t, PendingSpawn*> pending;
  std::map<std::uint64_t, Child*> children;  // running, and their launcher lives
  TaskScope scope;
};

// The receive starts with the first spawn: before that there is nothing to hear.
void LauncherClient::Impl::ensure_running() {
  if (current != nullptr || next == nullptr) return;
  current = next.get();
  scope.spawn(run(std::move(next)));
}

Task<void> LauncherClient::Impl::run(std::unique_ptr<Connection> connection) {
  std::vector<std::uint8_t> buffer(kLauncherMessageBytesMax);
  for (;;) {
    const Result<std::size_t> ready =
        co_await poll_fd(connection->socket.get(), POLLIN, StopToken(connection->stop));
    if (!ready || !receive(*connection, buffer)) break;
  }
  if (current == connection.get()) current = nullptr;
  lost(*connection);
  connection->stop.request_stop();
  co_await connection->writers.join();
}

bool LauncherClient::Impl::receive(Connection& connection, std::span<std::uint8_t> buffer) {
  for (;;) {
    Result<ReceivedMessage> message = receive_message(connection.socket.get(), buffer);
    if (!message) return false;
    if (message->bytes == 0) return true;
    const Result<LauncherReply> reply = decode_reply(buffer.first(message->bytes));
    if (!reply) return false;
    handle(connection, *reply, std::move(message->descriptors));
  }
}

void LauncherClient::Impl::handle(Connection& connection, const LauncherReply& reply,
                                  std::vector<UniqueFd> descriptors) {
  if (const auto* exited = std::get_if<ExitedReply>(&reply)) {
    const auto found = children.find(exited->id);
    if (found == children.end()) return;
    Child& child = *found->second;
    children.erase(found);
    child.status_ = exited->status;
    child.exited_ = true;
    child.exit_signal_.notify();
    return;
  }
  const auto* spawned = std::get_if<SpawnedReply>(&reply);
  const auto* failed = std::get_if<SpawnFailedReply>(&reply);
  const auto found = pending.find(spawned != nullptr ? spawned->id : failed->id);
  if (found == pending.end()) {
    // Its spawn has passed its deadline: nobody wants this child.
    if (spawned == nullptr) return;
    send(connection, {*encode(LauncherRequest(KillRequest{spawned->id, SIGKILL})), {}});
    return;
  }
  PendingSpawn& spawn = *found->second;
  if (spawned != nullptr) {
    spawn.child->pid_ = spawned->pid;
    spawn.child->start_ticks_ = spawned->start_ticks;
    if (!descriptors.empty()) spawn.child->pidfd_ = descriptors[0].release();
    children.emplace(spawned->id, spawn.child.get());
  } else {
    spawn.error = Error{Errc::system, failed->sys_errno, "start child"};
  }
  pending.erase(found);
  spawn.answered.notify();
}

bool LauncherClient::Impl::send(Connection& connection, Outgoing message) {
  if (connection.queue.empty()) {
    std::vector<int> fds;
    for (const UniqueFd& descriptor : message.descriptors) fds.push_back(descriptor.get());
    const Result<void> sent = send_message(connection.socket.get(), message.bytes, fds);
    if (sent) return true;
    if (sent.error().code != Errc::limit) return false;  // a dead launcher is seen by run()
  }
  connection.queue.push_back(std::move(message));
  if (connection.writers.running() == 0) connection.writers.spawn(flush(connection));
  return true;
}

// Sends what the socket could not take at once.
Task<void> LauncherClient::Impl::flush(Connection& connection) {
  while (!connection.queue.empty()) {
    const Result<std::size_t> ready =
        co_await poll_fd(connection.socket.get(), POLLOUT, StopToken(connection.stop));
    if (!ready) co_return;
    while (!connection.queue.empty()) {
      const Outgoing& next_message = connection.queue.front();
      std::vector<int> fds;
      for (const UniqueFd& descriptor : next_message.descriptors) fds.push_back(descriptor.get());
      const Result<void> sent = send_message(connection.socket.get(), next_message.bytes, fds);
      if (!sent && sent.error().code == Errc::limit) break;
      if (!sent) {
        connection.stop.request_stop();  // what is lost here would never be answered
        co_return;
      }
      connection.queue.pop_front();
    }
  }
}

bool LauncherClient::Impl::request(const Child& child, const LauncherRequest& what,
                                   std::vector<UniqueFd> descriptors) {
  if (!children.contains(child.id_)) return false;
  return send(*static_cast<Connection*>(child.connection_),
              {*encode(what), std::move(descriptors)});
}

// The launcher of this connection is gone.
void LauncherClient::Impl::lost(Connection& connection) {
  std::erase_if(pending, [&](const auto& entry) {
    PendingSpawn& spawn = *entry.second;
    if (spawn.connection != &connection) return false;
    spawn.error = Error{Errc::unavailable, 0, "launcher"};
    spawn.answered.notify();
    return true;
  });
  std::erase_if(children, [&](const auto& entry) {
    if (entry.second->connection_ != &connection) return false;
    entry.second->launcher_lost();
    return true;
  });
}

LauncherClient::LauncherClient(EventLoop&, int socket_fd)
    : impl_(std::make_unique<Impl>(socket_fd)) {}

LauncherClient::~LauncherClient() {
  WEIR_CHECK(impl_->current == nullptr);  // close() first
  WEIR_CHECK(impl_->children.empty());
}

Task<Result<std::unique_ptr<Subprocess>>> LauncherClient::spawn(SubprocessSpec spec,
                                                                Deadline deadline) {
  Impl& impl = *impl_;
  if (impl.closed) co_return fail(Errc::unavailable, "launcher closed");
  impl.ensure_running();
  if (impl.current == nullptr) co_return fail(Errc::unavailable, "launcher");
  Impl::Connection& connection = *impl.current;
  if (impl.children.size() + impl.pending.size() >= kChildrenPerClientMax ||
      connection.queue.size() >= kQueuedMessagesMax) {
    co_return fail(Errc::limit, "children of one loop");
  }
  const std::uint64_t id = ++impl.last_id;
  Result<std::vector<std::uint8_t>> bytes = encode(LauncherRequest(SpawnRequest{id, spec}));
  if (!bytes) co_return std::unexpected(bytes.error());

  Result<Pipe> in = make_pipe(true, true), out = make_pipe(false, true);
  if (!in) co_return std::unexpected(in.error());
  if (!out) co_return std::unexpected(out.error());
  Impl::PendingSpawn pending;
  pending.child = std::make_unique<Child>(impl, id, &connection);
  pending.connection = &connection;
  Impl::Outgoing message{std::move(*bytes), {}};
  message.descriptors.push_back(std::move(in->childs));
  message.descriptors.push_back(std::move(out->childs));
  pending.child->stdin_fd_ = in->ours.release();
  pending.child->stdout_fd_ = out->ours.release();
  if (!spec.merge_stderr) {
    Result<Pipe> err = make_pipe(false, false);
    if (!err) co_return std::unexpected(err.error());
    message.descriptors.push_back(std::move(err->childs));
    pending.child->stderr_fd_ = err->ours.release();
  }
  if (spec.channel) {
    Result<Pipe> channel = make_channel(spec.channel_of_messages);
    if (!channel) co_return std::unexpected(channel.error());
    message.descriptors.push_back(std::move(channel->childs));
    pending.child->channel_fd_ = channel->ours.release();
  }

  if (!impl.send(connection, std::move(message))) co_return fail(Errc::unavailable, "launcher");
  impl.pending.emplace(id, &pending);
  const Result<void> answered = co_await pending.answered.wait({}, deadline);
  impl.pending.erase(id);
  if (!answered) co_return std::unexpected(answered.error());
  if (pending.error) co_return std::unexpected(*pending.error);
  co_return std::move(pending.child);
}

void LauncherClient::reconnect(int socket_fd) {
  impl_->next.reset();
  if (impl_->closed) {
    ::close(socket_fd);
    return;
  }
  impl_->next = std::make_unique<Impl::Connection>(socket_fd);
  if (impl_->current != nullptr) impl_->current->stop.request_stop();
  impl_->current = nullptr;
}

Task<void> LauncherClient::close() {
  impl_->closed = true;
  impl_->next.reset();
  if (impl_->current != nullptr) impl_->current->stop.request_stop();
  co_await impl_->scope.join();
}

std::size_t LauncherClient::children() const {
  return impl_->children.size();
}

LauncherClient::Child::~Child() {
  Impl& impl = client_;
  if (impl.children.contains(id_)) {
    if (finishing_) {
      impl.request(*this, LetGoRequest{id_});
    } else {
      kill(SIGKILL);
    }
    impl.children.erase(id_);
  }
  close_end(stdin_fd_);
  close_end(stdout_fd_);
  close_end(stderr_fd_);
  close_end(channel_fd_);
  close_end(pidfd_);
}

void LauncherClient::Child::kill(int signal) {
  if (exited_ || pid_ <= 0) return;
  // The launcher knows whether the pid is still this child's.
  if (client_.request(*this, KillRequest{id_, signal})) return;
  // Without it: once the pidfd says that the process is there, so is its group.
  if (pidfd_ >= 0 && signal_process(pidfd_, 0)) ::kill(-pid_, signal);
}

void LauncherClient::Child::launcher_lost() {
  WEIR_CHECK(pid_ > 1);
  lost_ = true;
  if (!finishing_) {
    kill(SIGKILL);
    // The kernel has killed the child itself (PDEATHSIG), not what it had started: a group's number
    // is not used again while it has members.
    ::kill(-pid_, SIGKILL);
  }
  exit_signal_.notify();
}

Task<Result<ExitStatus>> LauncherClient::Child::wait(StopToken stop, Deadline deadline) {
  while (!exited_) {
    if (lost_) {
      const Result<std::size_t> ended = co_await poll_fd(pidfd_, POLLIN, stop, deadline);
      if (!ended && ended.error().code != Errc::system) co_return std::unexpected(ended.error());
      exited_ = true;
    } else {
      const Result<void> woken = co_await exit_signal_.wait(stop, deadline);
      if (!woken) co_return std::unexpected(woken.error());
    }
  }
  if (lost_) co_return fail(Errc::unavailable, "launcher died: exit status unknown");
  co_return status_;
}

void LauncherClient::Child::release_to_finish() {
  if (finishing_ || exited_) return;
  finishing_ = true;
  std::vector<UniqueFd> outputs;
  for (const int fd : {stdout_fd_, stderr_fd_}) {
    if (fd >= 0) outputs.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  }
  std::erase_if(outputs, [](const UniqueFd& output) { return !output.valid(); });
  client_.request(*this, FinishRequest{id_}, std::move(outputs));
}

}  // namespace weir::io
