#include "io/epoll_backend.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "io/epoll_ops.h"
#include "io/epoll_set.h"
#include "io/event_loop.h"
#include "io/file_threads.h"
#include "io/page_mapping.h"

namespace weir::io {
namespace {

// Then other descriptors have their turn; the rest is reported again at once.
constexpr int kAcceptsPerEventMax = 64;

// Op::place. Nowhere: not here, or its last completion is already handed out.
enum Place : std::uint8_t { kNowhere, kQueued, kWaiting, kStarved, kInThreads };

// What a waiting operation is told of besides EPOLLERR and EPOLLHUP.
std::uint32_t interest_of(const Op& op) {
  constexpr std::uint32_t kPollBits = 0xffff;  // above them are flags of epoll's own
  switch (op.kind) {
    case OpKind::accept:
    case OpKind::recv:
    case OpKind::read:
      return EPOLLIN;
    case OpKind::connect:
    case OpKind::send:
    case OpKind::write:
      return EPOLLOUT;
    case OpKind::poll:
      return (op.poll_mask & kPollBits) | EPOLLRDHUP;  // unasked, as io_uring does
    case OpKind::close:
      break;
  }
  return 0;
}

class EpollBackend final : public Backend {
 public:
  explicit EpollBackend(const EpollOptions& options)
      : options_(options), threads_(options.file_threads_max, [this] { wake(); }) {}
  ~EpollBackend() override {
    WEIR_CHECK(queue_.empty());
    WEIR_CHECK(starved_.empty());
  }
  Result<void> create();

  void cancel(Op& op) override;
  Result<void> start() override;
  void wait(std::optional<Instant> until, std::vector<CompletedOp>& out) override;
  void wake() override;
  void give_back(std::uint16_t buffer_id) override;
  const char* name() const override { return "epoll"; }
  std::string describe() const override;

 private:
  using Out = std::vector<CompletedOp>;

  void do_submit(Op& op) override;
  void begin(Op& op, Out& out);
  void go_on(Op& op, std::uint32_t events, Out& out);
  void settle(Op& op, const Attempt& attempt, Out& out);
  void expect(Op& op, Out& out);
  void finish(Op& op, const Completion& completion, Out& out);
  void accept(Op& op, Out& out);
  void recv(Op& op, Out& out);
  void close(Op& op, Out& out);
  void serve_starved(Out& out);
  void arm_dirty(Out& out);
  void refuse(EpollEntry& entry, int refused, Out& out);
  void fire(const epoll_event& event, Out& out);
  void end_early(Op& op);

  const EpollOptions options_;
  EpollSet set_;
  PageMapping buffers_;
  std::vector<std::uint16_t> free_buffers_;  // the one used last goes out first: its pages are warm
  IntrusiveList<Op> queue_;                  // submitted, not begun
  IntrusiveList<Op> starved_;                // recvs that found no buffer, in order of arrival
  std::vector<int> dirty_;                   // descriptors whose waiting operations changed
  std::vector<CompletedOp> early_;           // cancelled; given out by the next wait()
  std::vector<FileThreads::Ended> ended_;
  std::atomic<bool> wake_pending_{false};
  pid_t thread_ = 0;
  FileThreads threads_;  // goes first: its threads wake this
};

Result<void> EpollBackend::create() {
  WEIR_CHECK(options_.recv_buffers > 0 && options_.recv_buffers < kNoBuffer);
  if (Result<void> made = set_.create(); !made) return made;
  if (!buffers_.map(std::size_t{options_.recv_buffers} * options_.recv_buffer_bytes)) {
    return fail_errno("map receive buffers");
  }
  for (unsigned id = options_.recv_buffers; id > 0; --id) {
    free_buffers_.push_back(static_cast<std::uint16_t>(id - 1));
  }
  return {};
}

Result<void> EpollBackend::start() {
  WEIR_CHECK(thread_ == 0);
  thread_ = ::gettid();
  return {};
}

std::string EpollBackend::describe() const {
  return "epoll: one-shot events, non-blocking accept in batches, eventfd wake-ups, " +
         std::to_string(options_.recv_buffers) + " x " +
         std::to_string(options_.recv_buffer_bytes / 1024) + " KiB receive buffers, up to " +
         std::to_string(options_.file_threads_max) + " threads for files";
}

// --- the way of an operation

void EpollBackend::do_submit(Op& op) {
  op.moved_bytes = 0;
  op.place = kQueued;
  queue_.push_back(op);
}

void EpollBackend::begin(Op& op, Out& out) {
  op.place = kNowhere;
  switch (op.kind) {
    case OpKind::accept:
      make_non_blocking(op.fd);
      return expect(op, out);
    case OpKind::poll:
      return expect(op, out);
    case OpKind::recv:
      return op.data_waiting ? recv(op, out) : expect(op, out);
    case OpKind::close:
      return close(op, out);
    case OpKind::connect:
    case OpKind::send:
    case OpKind::read:
    case OpKind::write:
      return settle(op, try_op(op), out);
  }
}

// Its descriptor has `events` for it.
void EpollBackend::go_on(Op& op, std::uint32_t events, Out& out) {
  switch (op.kind) {
    case OpKind::accept:
      return accept(op, out);
    case OpKind::poll:
      return finish(op, {.result = static_cast<std::int32_t>(events)}, out);
    case OpKind::recv:
      return recv(op, out);
    default:
      return settle(op, try_again(op), out);
  }
}

void EpollBackend::settle(Op& op, const Attempt& attempt, Out& out) {
  switch (attempt.next) {
    case Attempt::Next::done:
      return finish(op, {.result = attempt.result}, out);
    case Attempt::Next::wait:
      return expect(op, out);
    case Attempt::Next::thread:
      op.place = kInThreads;
      return threads_.run(op);
  }
}

void EpollBackend::expect(Op& op, Out& out) {
  EpollEntry* entry = set_.entry(op.fd);
  if (entry == nullptr) return finish(op, {.result = -EBADF}, out);
  op.place = kWaiting;
  entry->waiting.push_back(op);
  if (entry->dirty) return;
  entry->dirty = true;
  dirty_.push_back(op.fd);
}

void EpollBackend::finish(Op& op, const Completion& completion, Out& out) {
  op.place = kNowhere;
  out.push_back({&op, completion});
}

void EpollBackend::accept(Op& op, Out& out) {
  for (int i = 0; i < kAcceptsPerEventMax; ++i) {
    const int fd = ::accept4(op.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      out.push_back({&op, {.result = fd, .more = true}});
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return finish(op, {.result = -errno}, out);
    }
  }
  expect(op, out);
}

void EpollBackend::recv(Op& op, Out& out) {
  if (free_buffers_.empty()) {
    op.place = kStarved;
    op.parked = true;
    starved_.push_back(op);
    stats_.recvs_parked.fetch_add(1, std::memory_order_relaxed);
    stats_.recvs_parked_total.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const std::uint16_t id = free_buffers_.back();
  const std::size_t bytes = options_.recv_buffer_bytes;
  std::uint8_t* at = static_cast<std::uint8_t*>(buffers_.data()) + id * bytes;
  ssize_t got = 0;
  do {
    got = ::recv(op.fd, at, bytes, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  // A full buffer: there is probably more, so the next recv is worth trying at once.
  op.data_waiting = got == static_cast<ssize_t>(bytes);
  if (got < 0 && errno == EAGAIN) return expect(op, out);
  if (got <= 0) return finish(op, {.result = got == 0 ? 0 : -errno}, out);
  free_buffers_.pop_back();
  finish(op,
         {.result = static_cast<std::int32_t>(got),
          .data = {at, static_cast<std::size_t>(got)},
          .buffer_id = id},
         out);
}

void EpollBackend::close(Op& op, Out& out) {
  if (EpollEntry* entry = set_.entry(op.fd); entry != nullptr) {
    set_.disarm(op.fd, *entry);  // somebody may hold a copy
    set_.forget(*entry);
  }
  finish(op, {.result = ::close(op.fd) == 0 ? 0 : -errno}, out);
}

void EpollBackend::give_back(std::uint16_t buffer_id) {
  WEIR_CHECK(buffer_id < options_.recv_buffers);
  WEIR_CHECK(free_buffers_.size() < options_.recv_buffers);
  free_buffers_.push_back(buffer_id);  // the next wait() serves who starves
}

void EpollBackend::serve_starved(Out& out) {
  while (!free_buffers_.empty() && !starved_.empty()) {
    Op& op = starved_.pop_front();
    op.parked = false;
    stats_.recvs_parked.fetch_sub(1, std::memory_order_relaxed);
    recv(op, out);
  }
}

// --- ending early

void EpollBackend::cancel(Op& op) {
  if (!op.in_flight()) return;
  op.cancel_asked = true;
  if (op.place == kNowhere) return;                              // it has ended
  if (op.place == kInThreads && !threads_.withdraw(op)) return;  // its thread ends it
  if (op.place == kQueued && op.kind == OpKind::close) return;   // would lose the descriptor
  end_early(op);
}

void EpollBackend::end_early(Op& op) {
  if (op.place == kStarved) stats_.recvs_parked.fetch_sub(1, std::memory_order_relaxed);
  const bool waited = op.place == kWaiting;
  op.unlink();
  op.parked = false;
  // At once: the owner may close the descriptor before the next wait().
  EpollEntry* entry = waited ? set_.entry(op.fd) : nullptr;
  if (entry != nullptr && entry->waiting.empty()) set_.disarm(op.fd, *entry);
  const auto moved = static_cast<std::int32_t>(op.moved_bytes);
  finish(op, {.result = moved > 0 ? moved : -ECANCELED}, early_);
}

// --- waking and waiting

// As in the io_uring backend: cleared when the wait has ended, before the loop looks at its
// mailbox, so who finds it set can be sure to be seen.
void EpollBackend::wake() {
  if (!wake_pending_.exchange(true, std::memory_order_acq_rel)) set_.wake();
}

void EpollBackend::wait(std::optional<Instant> until, Out& out) {
  WEIR_CHECK(thread_ == ::gettid());
  serve_starved(out);
  while (!queue_.empty() && out.size() < kCompletionsPerTurnMax) begin(queue_.pop_front(), out);
  arm_dirty(out);
  if (!queue_.empty()) stats_.submits_deferred.fetch_add(1, std::memory_order_relaxed);
  const bool busy = !out.empty() || !early_.empty() || !queue_.empty();
  for (const epoll_event& event : set_.wait(busy ? Instant::min() : until)) fire(event, out);

  wake_pending_.exchange(false, std::memory_order_acq_rel);
  threads_.collect(ended_);
  for (const FileThreads::Ended& ended : ended_) finish(*ended.op, {.result = ended.result}, out);
  ended_.clear();
  out.insert(out.end(), early_.begin(), early_.end());
  early_.clear();
}

void EpollBackend::arm_dirty(Out& out) {
  // By index: what is refused may wait for something else.
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    const int fd = dirty_[i];
    EpollEntry& entry = *set_.entry(fd);
    entry.dirty = false;
    std::uint32_t events = 0;
    for (Op* op = entry.waiting.first(); op != nullptr; op = entry.waiting.next(*op)) {
      events |= interest_of(*op) | EPOLLERR | EPOLLHUP;
    }
    if ((events & ~entry.armed) == 0) continue;
    const int refused = set_.arm(fd, entry, events);
    if (refused != 0) refuse(entry, refused, out);
  }
  dirty_.clear();
}

// EPERM: a file that cannot be waited for; it is always ready, but may be slow.
void EpollBackend::refuse(EpollEntry& entry, int refused, Out& out) {
  while (!entry.waiting.empty()) {
    Op& op = entry.waiting.pop_front();
    const bool file_op = op.kind == OpKind::read || op.kind == OpKind::write;
    if (refused == EPERM && file_op) {
      settle(op, {Attempt::Next::thread}, out);
    } else if (refused == EPERM && op.kind == OpKind::poll) {
      finish(op, {.result = poll_now(op.fd, op.poll_mask)}, out);
    } else {
      finish(op, {.result = refused == EPERM ? -ENOTSOCK : -refused}, out);
    }
  }
}

void EpollBackend::fire(const epoll_event& event, Out& out) {
  EpollEntry* entry = set_.fired(event);
  if (entry == nullptr) return;
  IntrusiveList<Op> waited;
  waited.splice_back(entry->waiting);
  while (!waited.empty()) {
    Op& op = waited.pop_front();
    const std::uint32_t events = event.events & (interest_of(op) | EPOLLERR | EPOLLHUP);
    events != 0 ? go_on(op, events, out) : expect(op, out);
  }
}

}  // namespace

Result<std::unique_ptr<Backend>> create_epoll_backend(const EpollOptions& options) {
  auto backend = std::make_unique<EpollBackend>(options);
  const Result<void> made = backend->create();
  if (!made) return std::unexpected(made.error());
  return backend;
}

}  // namespace weir::io
