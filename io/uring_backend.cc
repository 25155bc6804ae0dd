#include "io/uring_backend.h"

#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>

#include "io/event_loop.h"
#include "io/uring_buffers.h"
#include "io/uring_ring.h"

namespace weir::io {
namespace {

static_assert(kRecvBuffers >= kCompletionsPerTurnMax, "every recv of one turn finds a buffer");
static_assert(kCqEntries >= 2 * kCompletionsPerTurnMax, "a turn's rest and the next burst fit");

constexpr std::uint32_t kTransferBytesMax = 1u << 30;  // results are int32

// user_data: an Op pointer (aligned, low bits 0), or a tag in the low bits and a number above them.
enum Tag : std::uint64_t { kOp = 0, kIgnored, kWakeRead, kWakeMessage, kSentMessage };
constexpr std::uint64_t kTagBits = 3;
constexpr std::uint64_t kTagMask = (1 << kTagBits) - 1;
static_assert(alignof(Op) > kTagMask);

std::uint64_t tagged(Tag tag, int number = 0) {
  return (static_cast<std::uint64_t>(number) << kTagBits) | tag;
}

class UringBackend final : public Backend {
 public:
  explicit UringBackend(const UringOptions& options) : options_(options) {}
  ~UringBackend() override;
  Result<void> create();

  void cancel(Op& op) override;
  Result<void> start() override;
  void wait(std::optional<Instant> until, std::vector<CompletedOp>& out) override;
  void wake() override;
  void give_back(std::uint16_t buffer_id) override;
  const char* name() const override { return "io_uring"; }
  std::string describe() const override;

 private:
  void do_submit(Op& op) override { push(op); }
  io_uring_sqe* next_sqe();
  void push(Op& op);
  void prepare(io_uring_sqe& sqe, Op& op);
  bool push_cancel(std::uint64_t op_address);
  bool push_message(int target_ring_fd, int target_wake_fd);
  void arm_wake_read();
  void push_deferred();
  void enter(std::optional<Instant> until);
  void take(const io_uring_cqe& cqe, std::vector<CompletedOp>& out);
  void take_op(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out);
  void take_accept(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out);
  void take_recv(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out);
  void park(Op& op);
  void feed_starved();
  void end_early(Op& op);

  const UringOptions options_;
  UringBuffers buffers_;
  std::unique_ptr<UringRing> ring_;  // goes first: the kernel may hold the buffers until then
  bool multishot_accept_ = true;
  bool msg_ring_ = true;

  int wake_fd_ = -1;
  std::uint64_t wake_value_ = 0;
  bool wake_read_armed_ = false;
  std::atomic<bool> wake_pending_{false};

  unsigned buffers_lent_ = 0;   // to receivers
  IntrusiveList<Op> starved_;   // recvs that found no buffer, in order of arrival
  IntrusiveList<Op> deferred_;  // the submission queue was full
  std::vector<std::uint64_t> deferred_cancels_;
  std::vector<CompletedOp> early_;  // ended without the kernel; given out by the next wait()
};

// The backend bound to this thread, for wake() between loops.
thread_local UringBackend* thread_backend = nullptr;

UringBackend::~UringBackend() {
  WEIR_CHECK(starved_.empty());
  WEIR_CHECK(deferred_.empty());
  if (thread_backend == this) thread_backend = nullptr;
  ring_.reset();
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

Result<void> UringBackend::create() {
  Result<std::unique_ptr<UringRing>> ring = UringRing::create(options_);
  if (!ring) return std::unexpected(ring.error());
  ring_ = std::move(*ring);
  if (Result<void> made = buffers_.create(ring_->get(), options_); !made) return made;
  multishot_accept_ = options_.multishot_accept;
  msg_ring_ = options_.msg_ring && ring_->has_msg_ring();
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (wake_fd_ < 0) return fail_errno("eventfd");
  return {};
}

Result<void> UringBackend::start() {
  Result<void> bound = ring_->bind_to_thread(options_);
  if (bound) thread_backend = this;
  return bound;
}

std::string UringBackend::describe() const {
  std::string text = "io_uring: " + ring_->describe();
  text += multishot_accept_ ? ", multishot accept" : ", one-shot accept";
  text += msg_ring_ ? ", msg_ring wake-ups" : ", eventfd wake-ups";
  text += ", " + std::to_string(options_.recv_buffers) + " x " +
          std::to_string(options_.recv_buffer_bytes / 1024) + " KiB receive buffers";
  return text;
}

// --- submitting
// -------------------------------------------------------------------------------------

io_uring_sqe* UringBackend::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(ring_->get());
  if (sqe != nullptr || !ring_->bound()) return sqe;
  io_uring_submit(ring_->get());  // may be refused for now (EBUSY, EAGAIN): then the caller defers
  return io_uring_get_sqe(ring_->get());
}

void UringBackend::push(Op& op) {
  // Behind what was deferred: a close must not overtake a cancel of the same descriptor.
  const bool must_queue = !deferred_.empty() || !deferred_cancels_.empty();
  io_uring_sqe* sqe = must_queue ? nullptr : next_sqe();
  if (sqe == nullptr) {
    stats_.submits_deferred.fetch_add(1, std::memory_order_relaxed);
    deferred_.push_back(op);
    return;
  }
  prepare(*sqe, op);
}

void UringBackend::prepare(io_uring_sqe& sqe, Op& op) {
  const auto bytes = static_cast<unsigned>(
      std::min(op.buffer.size(), static_cast<std::size_t>(kTransferBytesMax)));
  switch (op.kind) {
    case OpKind::accept:
      io_uring_prep_accept(&sqe, op.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (multishot_accept_) sqe.ioprio |= IORING_ACCEPT_MULTISHOT;
      break;
    case OpKind::connect:
      io_uring_prep_connect(&sqe, op.fd, op.address, op.address_bytes);
      break;
    case OpKind::recv:
      io_uring_prep_recv(&sqe, op.fd, nullptr, options_.recv_buffer_bytes, 0);
      sqe.flags |= IOSQE_BUFFER_SELECT;
      sqe.buf_group = UringBuffers::kGroup;
      // Polling first needs no buffer while the socket is idle; without it a recv takes one at
      // once.
      if (!op.data_waiting) sqe.ioprio |= IORING_RECVSEND_POLL_FIRST;
      break;
    case OpKind::send:
      io_uring_prep_send(&sqe, op.fd, op.buffer.data(), bytes, MSG_WAITALL | MSG_NOSIGNAL);
      break;
    case OpKind::read:
      io_uring_prep_read(&sqe, op.fd, op.buffer.data(), bytes, op.offset);
      break;
    case OpKind::write:
      io_uring_prep_write(&sqe, op.fd, op.buffer.data(), bytes, op.offset);
      break;
    case OpKind::poll:
      io_uring_prep_poll_add(&sqe, op.fd, op.poll_mask);
      break;
    case OpKind::close:
      io_uring_prep_close(&sqe, op.fd);
      break;
  }
  sqe.user_data = std::bit_cast<std::uint64_t>(&op);
}

void UringBackend::cancel(Op& op) {
  if (!op.in_flight()) return;
  op.cancel_asked = true;
  if (op.linked()) return end_early(op);
  const auto address = std::bit_cast<std::uint64_t>(&op);
  if (!push_cancel(address)) deferred_cancels_.push_back(address);
}

// For one that is parked or deferred: the kernel does not know it.
void UringBackend::end_early(Op& op) {
  op.unlink();
  if (op.parked) stats_.recvs_parked.fetch_sub(1, std::memory_order_relaxed);
  op.parked = false;
  early_.push_back({&op, {.result = -ECANCELED}});
}

// By its address, which the kernel hashes: by descriptor it would look at every op there is. An op
// that takes the same address later is queued behind this.
bool UringBackend::push_cancel(std::uint64_t op_address) {
  io_uring_sqe* sqe = next_sqe();
  if (sqe == nullptr) return false;
  io_uring_prep_cancel64(sqe, op_address, 0);
  sqe->user_data = tagged(kIgnored);
  return true;
}

void UringBackend::push_deferred() {
  // Cancels first: they are for ops that were submitted before anything here was deferred.
  while (!deferred_cancels_.empty()) {
    if (!push_cancel(deferred_cancels_.back())) return;
    deferred_cancels_.pop_back();
  }
  while (!deferred_.empty()) {
    io_uring_sqe* sqe = next_sqe();
    if (sqe == nullptr) return;
    prepare(*sqe, deferred_.pop_front());
  }
}

// --- waking
// -----------------------------------------------------------------------------------------

// wake_pending_ is set by the first waker and cleared when the wait has ended, before the loop
// looks at its mailbox: a waker that finds it set can be sure that its message will be seen.
void UringBackend::wake() {
  if (wake_pending_.exchange(true, std::memory_order_acq_rel)) return;
  UringBackend* ours = EventLoop::in_turn() ? thread_backend : nullptr;
  if (ours != nullptr && ours != this && ours->push_message(ring_->fd(), wake_fd_)) return;
  ::eventfd_write(wake_fd_, 1);
}

// A message to another ring costs no system call of its own: it leaves at the end of our turn.
bool UringBackend::push_message(int target_ring_fd, int target_wake_fd) {
  io_uring_sqe* sqe = msg_ring_ ? next_sqe() : nullptr;
  if (sqe == nullptr) return false;
  io_uring_prep_msg_ring(sqe, target_ring_fd, 0, tagged(kWakeMessage), 0);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  sqe->user_data = tagged(kSentMessage, target_wake_fd);
  return true;
}

void UringBackend::arm_wake_read() {
  if (wake_read_armed_) return;
  io_uring_sqe* sqe = next_sqe();
  if (sqe == nullptr) return;
  io_uring_prep_read(sqe, wake_fd_, &wake_value_, sizeof wake_value_, 0);
  sqe->user_data = tagged(kWakeRead);
  wake_read_armed_ = true;
}

// --- waiting
// ----------------------------------------------------------------------------------------

void UringBackend::wait(std::optional<Instant> until, std::vector<CompletedOp>& out) {
  WEIR_CHECK(ring_->bound_here());
  arm_wake_read();
  push_deferred();
  const bool more_to_submit = !deferred_.empty() || !deferred_cancels_.empty() || !wake_read_armed_;
  enter(early_.empty() && !more_to_submit ? until : Instant::min());

  out.insert(out.end(), early_.begin(), early_.end());
  early_.clear();
  io_uring_cqe* cqe = nullptr;
  unsigned head = 0;
  unsigned taken = 0;
  io_uring_for_each_cqe(ring_->get(), head, cqe) {
    if (taken == kCompletionsPerTurnMax) break;
    take(*cqe, out);
    ++taken;
  }
  io_uring_cq_advance(ring_->get(), taken);
  wake_pending_.exchange(false, std::memory_order_acq_rel);
}

void UringBackend::enter(std::optional<Instant> until) {
  int result = 0;
  if (until) {
    const Instant now = std::chrono::steady_clock::now();
    if (*until <= now) {
      result = io_uring_submit_and_get_events(ring_->get());
    } else {
      const Duration left = *until - now;
      __kernel_timespec timeout{.tv_sec = left / 1s, .tv_nsec = (left % 1s).count()};
      io_uring_cqe* unused = nullptr;
      result = io_uring_submit_and_wait_timeout(ring_->get(), &unused, 1, &timeout, nullptr);
    }
  } else {
    io_uring_cqe* unused = nullptr;
    result = io_uring_submit_and_wait_timeout(ring_->get(), &unused, 1, nullptr, nullptr);
  }
  // ETIME: `until` came. EINTR: a signal. EAGAIN, EBUSY: the kernel is short of memory or of CQ
  // room; what was not submitted stays queued and is tried again next turn.
  WEIR_CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
             result == -EBUSY);
}

void UringBackend::take(const io_uring_cqe& cqe, std::vector<CompletedOp>& out) {
  switch (static_cast<Tag>(cqe.user_data & kTagMask)) {
    case kOp:
      take_op(*std::bit_cast<Op*>(cqe.user_data), cqe, out);
      return;
    case kWakeRead:
      wake_read_armed_ = false;
      return;
    case kSentMessage:  // only failures are told: the target is not running yet, or cannot take it
      ::eventfd_write(static_cast<int>(cqe.user_data >> kTagBits), 1);
      return;
    case kIgnored:
    case kWakeMessage:
      return;
  }
}

void UringBackend::take_op(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out) {
  WEIR_DCHECK(op.in_flight() && !op.linked());
  if (op.kind == OpKind::accept) return take_accept(op, cqe, out);
  if (op.kind == OpKind::recv) return take_recv(op, cqe, out);
  if (cqe.res == -EINTR && !op.cancel_asked && op.kind != OpKind::close) return push(op);
  out.push_back({&op, {.result = cqe.res}});
}

// Multishot ends when the CQ overflows or the kernel does not know it; the Op goes on in either
// case.
void UringBackend::take_accept(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out) {
  const bool kernel_goes_on = (cqe.flags & IORING_CQE_F_MORE) != 0;
  if (cqe.res == -EINVAL && multishot_accept_ && !kernel_goes_on) {
    multishot_accept_ = false;
    return push(op);
  }
  const bool again = kernel_goes_on || (cqe.res >= 0 && !op.cancel_asked);
  if (cqe.res >= 0 && !again) {  // cancelled while it was completing: the last one, then the end
    out.push_back({&op, {.result = cqe.res, .more = true}});
    out.push_back({&op, {.result = -ECANCELED}});
    return;
  }
  if (again && !kernel_goes_on) push(op);
  out.push_back({&op, {.result = cqe.res, .more = again}});
}

void UringBackend::take_recv(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out) {
  op.data_waiting = (cqe.flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
  const bool lent = (cqe.flags & IORING_CQE_F_BUFFER) != 0;
  const auto id = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
  if (cqe.res > 0) {
    WEIR_CHECK(lent);
    ++buffers_lent_;
    const std::span<std::uint8_t> data = buffers_.lent(id, static_cast<std::size_t>(cqe.res));
    out.push_back({&op, {.result = cqe.res, .data = data, .buffer_id = id}});
    return;
  }
  if (lent) buffers_.give_back(id);
  if ((cqe.res == -ENOBUFS || cqe.res == -EINTR) && !op.cancel_asked) {
    if (cqe.res == -EINTR) return push(op);
    return park(op);
  }
  out.push_back({&op, {.result = cqe.res == -ENOBUFS ? -ECANCELED : cqe.res}});
  feed_starved();  // the buffer that this one was armed for may still be free
}

void UringBackend::park(Op& op) {
  op.data_waiting = true;
  op.parked = true;
  starved_.push_back(op);
  stats_.recvs_parked.fetch_add(1, std::memory_order_relaxed);
  stats_.recvs_parked_total.fetch_add(1, std::memory_order_relaxed);
}

void UringBackend::give_back(std::uint16_t buffer_id) {
  buffers_.give_back(buffer_id);
  --buffers_lent_;
  feed_starved();
}

void UringBackend::feed_starved() {
  if (starved_.empty() || buffers_lent_ >= options_.recv_buffers) return;
  Op& longest = starved_.pop_front();
  longest.parked = false;
  stats_.recvs_parked.fetch_sub(1, std::memory_order_relaxed);
  push(longest);
}

}  // namespace

Result<std::unique_ptr<Backend>> create_uring_backend(const UringOptions& options) {
  auto backend = std::make_unique<UringBackend>(options);
  const Result<void> made = backend->create();
  if (!made) return std::unexpected(made.error());
  return backend;
}

}  // namespace weir::io
