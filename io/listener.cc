#include "io/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace weir::io {
namespace {

// Accepted sockets inherit these from the listening one: two system calls a connection saved.
// Nagle's delay would hold back the tail of every answer; the low-water mark keeps bytes that the
// peer does not take in our hands instead of megabytes in the kernel's (measured: 70 KB against 3.8
// MB for a stalled reader).
constexpr int kNotSentLowWaterBytes = 128 * 1024;

void set_inherited_options(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kNotSentLowWaterBytes,
               sizeof kNotSentLowWaterBytes);
}

}  // namespace

struct Listener::AcceptOp : Op, Timer {
  Listener* listener = nullptr;
};

struct Listener::CheckTimer : Timer {
  Listener* listener = nullptr;
};

Listener::Listener(EventLoop& loop, int listen_fd, const std::vector<EventLoop*>& loops,
                   OnConnection on_connection)
    : loop_(loop),
      fd_(listen_fd),
      loops_(loops),
      on_connection_(std::make_shared<const OnConnection>(std::move(on_connection))),
      op_(std::make_unique<AcceptOp>()),
      check_(std::make_unique<CheckTimer>()) {
  op_->listener = this;
  op_->kind = OpKind::accept;
  op_->fd = listen_fd;
  op_->on_complete = [](Op& self, const Completion& completion) {
    static_cast<AcceptOp&>(self).listener->accepted(completion);
  };
  op_->on_expire = [](Timer& self) { static_cast<AcceptOp&>(self).listener->arm(); };
  check_->listener = this;
  check_->on_expire = [](Timer& self) { static_cast<CheckTimer&>(self).listener->check(); };
}

Listener::~Listener() {
  check_->unlink();
  op_->Timer::unlink();
}

void Listener::start() {
  set_inherited_options(fd_);
  arm();
  loop_.timers().arm(*check_, loop_.now() + check_after_);
}

void Listener::check() {
  pollfd queue{fd_, POLLIN, 0};
  // Armed anew, the accept takes what is there.
  if (op_->in_flight() && ::poll(&queue, 1, 0) > 0) loop_.backend().cancel(*op_);
  check_after_ = std::min(2 * check_after_, kAcceptCheckMax);
  loop_.timers().arm(*check_, loop_.now() + check_after_);
}

void Listener::arm() {
  loop_.backend().submit(*op_);
}

void Listener::stop(std::function<void()> on_stopped) {
  WEIR_CHECK(!stopping_);
  stopping_ = true;
  on_stopped_ = std::move(on_stopped);
  op_->Timer::unlink();
  check_->unlink();
  if (op_->in_flight()) {
    loop_.backend().cancel(*op_);
  } else {
    loop_.post([this] { std::exchange(on_stopped_, nullptr)(); });
  }
}

void Listener::accepted(const Completion& completion) {
  if (completion.result >= 0) hand_over(completion.result);
  if (completion.more) return;
  if (stopping_) {
    const std::function<void()> on_stopped = std::exchange(on_stopped_, nullptr);
    return on_stopped();  // may destroy this
  }
  const int refused = -completion.result;
  WEIR_CHECK(refused != EBADF && refused != ENOTSOCK && refused != EINVAL);  // our own mistake
  switch (refused) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      stats_.paused.fetch_add(1, std::memory_order_relaxed);
      loop_.timers().arm(*op_, loop_.now() + kAcceptRetry);
      return;
    default:  // ECONNABORTED and other errors of the connection that was to be accepted
      arm();
  }
}

void Listener::hand_over(int fd) {
  stats_.accepted.fetch_add(1, std::memory_order_relaxed);
  EventLoop& owner = choose_loop();
  owner.load().fetch_add(1, std::memory_order_relaxed);
  if (&owner == &loop_) return (*on_connection_)(owner, fd);
  stats_.handed_off.fetch_add(1, std::memory_order_relaxed);
  owner.post([&owner, fd, on_connection = on_connection_] { (*on_connection)(owner, fd); });
}

EventLoop& Listener::choose_loop() const {
  EventLoop* least = &loop_;
  std::int64_t least_load = loop_.load().load(std::memory_order_relaxed);
  const std::int64_t our_load = least_load;
  for (EventLoop* loop : loops_) {
    const std::int64_t load = loop->load().load(std::memory_order_relaxed);
    if (load < least_load && loop->mailbox_waiting() < kMailboxHandOffMax) {
      least = loop;
      least_load = load;
    }
  }
  const std::int64_t ahead_max = std::max(std::int64_t{8}, our_load / 8);
  return our_load - least_load > ahead_max ? *least : loop_;
}

}  // namespace weir::io
