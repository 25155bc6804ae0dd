#include "io/uring_backend.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>

#include "io/event_loop.h"

namespace weir::io {
namespace {

constexpr int kBufferGroup = 0;
constexpr std::uint32_t kTransferBytesMax = 1u << 30;  // results are int32

// user_data: an Op pointer (aligned, low bits 0), or a tag in the low bits and a number above them.
enum Tag : std::uint64_t { kOp = 0, kIgnored, kWakeRead, kWakeMessage, kCancelFd, kSentMessage };
constexpr std::uint64_t kTagBits = 3;
constexpr std::uint64_t kTagMask = (1 << kTagBits) - 1;
static_assert(alignof(Op) > kTagMask);

std::uint64_t tagged(Tag tag, int number = 0) {
  return (static_cast<std::uint64_t>(number) << kTagBits) | tag;
}

// Tried from the top; the first that the kernel accepts is used.
struct SetupRung {
  unsigned flags;
  const char* name;
};
constexpr unsigned kSetupCommon =
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
constexpr std::array<SetupRung, 2> kSetupLadder = {{
    {kSetupCommon | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "defer_taskrun"},
    {kSetupCommon | IORING_SETUP_COOP_TASKRUN, "coop_taskrun (no defer_taskrun: slower)"},
}};
constexpr unsigned kFeaturesRequired =
    IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG;
constexpr std::array kOpcodesRequired = {IORING_OP_ACCEPT, IORING_OP_CONNECT,  IORING_OP_RECV,
                                         IORING_OP_SEND,   IORING_OP_READ,     IORING_OP_WRITE,
                                         IORING_OP_CLOSE,  IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};

// Pages of our own, released with the object.
class Mapping {
 public:
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
  }
  bool map(std::size_t bytes) {
    void* data =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return false;
    data_ = data;
    bytes_ = bytes;
    ::madvise(data, bytes, MADV_DONTFORK);
    return true;
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

class UringBackend final : public Backend {
 public:
  explicit UringBackend(const UringOptions& options) : options_(options) {}
  ~UringBackend() override;
  Result<void> create();

  void cancel(Op& op) override;
  void cancel_fd(int fd) override;
  Result<void> start() override;
  void wait(std::optional<Instant> until, std::vector<CompletedOp>& out) override;
  void wake() override;
  void give_back(std::uint16_t buffer_id) override;
  const char* name() const override { return "io_uring"; }
  std::string describe() const override;

 private:
  void do_submit(Op& op) override { push(op); }
  Result<void> create_ring();
  Result<void> check_parts();
  Result<void> create_buffers();

  io_uring_sqe* next_sqe();
  void push(Op& op);
  void prepare(io_uring_sqe& sqe, Op& op);
  bool push_cancel(std::uint64_t request);
  bool push_message(int target_ring_fd, int target_wake_fd);
  void arm_wake_read();
  void push_deferred();
  void enter(std::optional<Instant> until);
  void take(const io_uring_cqe& cqe, std::vector<CompletedOp>& out);
  void take_op(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out);
  void take_accept(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out);
  void take_recv(Op& op, const io_uring_cqe& cqe, std::vector<CompletedOp>& out);
  void end_early(IntrusiveList<Op>& list, int fd);
  void add_buffer(std::uint16_t id);
  std::uint8_t* buffer(std::uint16_t id) const {
    return static_cast<std::uint8_t*>(buffers_.data()) +
           std::size_t{id} * options_.recv_buffer_bytes;
  }

  const UringOptions options_;
  io_uring ring_{};
  bool ring_made_ = false;
  const char* setup_name_ = "";
  bool multishot_accept_ = true;
  bool msg_ring_ = true;
  bool ring_fd_registered_ = false;
  pid_t bound_thread_ = 0;

  Mapping buffer_ring_pages_;
  Mapping buffers_;
  io_uring_buf_ring* buffer_ring_ = nullptr;

  int wake_fd_ = -1;
  std::uint64_t wake_value_ = 0;
  bool wake_read_armed_ = false;
  std::atomic<bool> wake_pending_{false};

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
  if (ring_made_) {
    // A registered ring descriptor is a slot in its thread's own table; unregistering it from another
    // thread would free that thread's slot instead. The kernel frees ours with our thread.
    constexpr std::uint8_t kRegisteredRingFlag = 1;
    if (bound_thread_ != ::gettid()) {
      ring_.int_flags = static_cast<std::uint8_t>(ring_.int_flags & ~kRegisteredRingFlag);
    }
    io_uring_queue_exit(&ring_);
  }
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

Result<void> UringBackend::create() {
  if (Result<void> made = create_ring(); !made) return made;
  if (Result<void> checked = check_parts(); !checked) return checked;
  if (Result<void> made = create_buffers(); !made) return made;
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (wake_fd_ < 0) return fail_errno("eventfd");
  io_uring_ring_dontfork(&ring_);
  return {};
}

Result<void> UringBackend::create_ring() {
  int refused = EINVAL;
  for (const SetupRung& rung : kSetupLadder) {
    io_uring_params params{};
    params.flags = rung.flags;
    params.cq_entries = options_.cq_entries;
    refused = -io_uring_queue_init_params(options_.sq_entries, &ring_, &params);
    if (refused == 0) {
      ring_made_ = true;
      setup_name_ = rung.name;
      return {};
    }
    if (refused != EINVAL) break;  // not a matter of flags
  }
  return fail(Errc::system, explain_uring_refusal(refused), refused);
}

Result<void> UringBackend::check_parts() {
  if ((ring_.features & kFeaturesRequired) != kFeaturesRequired) {
    return fail(Errc::unavailable, "io_uring lacks required features (Linux 6.1 has them)");
  }
  const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(
      io_uring_get_probe_ring(&ring_), io_uring_free_probe);
  if (probe == nullptr) return fail(Errc::unavailable, "io_uring opcode probe");
  for (const io_uring_op opcode : kOpcodesRequired) {
    if (io_uring_opcode_supported(probe.get(), opcode) == 0) {
      return fail(Errc::unavailable, "io_uring lacks a required operation (Linux 6.1 has them)");
    }
  }
  multishot_accept_ = options_.multishot_accept;
  msg_ring_ =
      options_.msg_ring && io_uring_opcode_supported(probe.get(), IORING_OP_MSG_RING) != 0;
  return {};
}

Result<void> UringBackend::create_buffers() {
  WEIR_CHECK(std::has_single_bit(options_.recv_buffers) && options_.recv_buffers < kNoBuffer);
  if (!buffer_ring_pages_.map(options_.recv_buffers * sizeof(io_uring_buf)) ||
      !buffers_.map(std::size_t{options_.recv_buffers} * options_.recv_buffer_bytes)) {
    return fail_errno("map receive buffers");
  }
  buffer_ring_ = static_cast<io_uring_buf_ring*>(buffer_ring_pages_.data());
  io_uring_buf_reg registration{};
  registration.ring_addr = std::bit_cast<std::uint64_t>(buffer_ring_);
  registration.ring_entries = options_.recv_buffers;
  registration.bgid = kBufferGroup;
  const int refused = -io_uring_register_buf_ring(&ring_, &registration, 0);
  if (refused != 0) {
    return fail(Errc::system, "register io_uring buffer ring (Linux 5.19 has it)", refused);
  }
  io_uring_buf_ring_init(buffer_ring_);
  for (unsigned id = 0; id < options_.recv_buffers; ++id) add_buffer(static_cast<std::uint16_t>(id));
  return {};
}

Result<void> UringBackend::start() {
  WEIR_CHECK(bound_thread_ == 0);
  // By hand: liburing 2.3 declares io_uring_enable_rings() but does not export it.
  if (::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) < 0) {
    return fail_errno("enable io_uring");
  }
  bound_thread_ = ::gettid();
  thread_backend = this;
  // Best effort both: without them the ring is slower to enter, or cold files make more threads.
  ring_fd_registered_ = io_uring_register_ring_fd(&ring_) == 1;
  std::array<unsigned, 2> workers = {options_.io_workers_bounded_max,
                                     options_.io_workers_unbounded_max};
  io_uring_register_iowq_max_workers(&ring_, workers.data());
  return {};
}

std::string UringBackend::describe() const {
  std::string text = "io_uring: ";
  text += setup_name_;
  text += multishot_accept_ ? ", multishot accept" : ", one-shot accept";
  text += msg_ring_ ? ", msg_ring wake-ups" : ", eventfd wake-ups";
  text += ring_fd_registered_ ? ", registered ring" : ", ring not registered";
  text += ", CQ " + std::to_string(*ring_.cq.kring_entries);
  text += ", " + std::to_string(options_.recv_buffers) + " x " +
          std::to_string(options_.recv_buffer_bytes / 1024) + " KiB receive buffers";
  return text;
}

// --- submitting -------------------------------------------------------------------------------------

io_uring_sqe* UringBackend::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe != nullptr || bound_thread_ == 0) return sqe;
  io_uring_submit(&ring_);  // may be refused for now (EBUSY, EAGAIN): then the caller defers
  return io_uring_get_sqe(&ring_);
}

void UringBackend::push(Op& op) {
  // Behind what was deferred: a close must not overtake a cancel of the same descriptor.
  const bool must_queue = !deferred_.empty() || !deferred_cancels_.empty();
  io_uring_sqe* sqe = must_queue ? nullptr : next_sqe();
  if (sqe == nullptr) {
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
      sqe.buf_group = kBufferGroup;
      // Polling first needs no buffer while the socket is idle; without it a recv takes one at once.
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
  if (op.linked()) {  // starved or deferred: the kernel does not know it
    op.unlink();
    early_.push_back({&op, {.result = -ECANCELED}});
    return;
  }
  const auto request = std::bit_cast<std::uint64_t>(&op);
  if (!push_cancel(request)) deferred_cancels_.push_back(request);
}

void UringBackend::cancel_fd(int fd) {
  end_early(starved_, fd);
  end_early(deferred_, fd);
  const std::uint64_t request = tagged(kCancelFd, fd);
  if (!push_cancel(request)) deferred_cancels_.push_back(request);
}

void UringBackend::end_early(IntrusiveList<Op>& list, int fd) {
  for (Op* op = list.first(); op != nullptr;) {
    Op* next = list.next(*op);
    if (op->fd == fd) {
      op->unlink();
      early_.push_back({op, {.result = -ECANCELED}});
    }
    op = next;
  }
}

bool UringBackend::push_cancel(std::uint64_t request) {
  io_uring_sqe* sqe = next_sqe();
  if (sqe == nullptr) return false;
  if ((request & kTagMask) == kCancelFd) {
    io_uring_prep_cancel_fd(sqe, static_cast<int>(request >> kTagBits), IORING_ASYNC_CANCEL_ALL);
    sqe->user_data = request;
  } else {
    io_uring_prep_cancel64(sqe, request, 0);
    sqe->user_data = tagged(kIgnored);
  }
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

// --- waking -----------------------------------------------------------------------------------------

// wake_pending_ is set by the first waker and cleared when the wait has ended, before the loop looks at
// its mailbox: a waker that finds it set can be sure that its message will be seen.
void UringBackend::wake() {
  if (wake_pending_.exchange(true, std::memory_order_acq_rel)) return;
  UringBackend* ours = EventLoop::in_turn() ? thread_backend : nullptr;
  if (ours != nullptr && ours != this && ours->push_message(ring_.ring_fd, wake_fd_)) return;
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

// --- waiting ----------------------------------------------------------------------------------------

void UringBackend::wait(std::optional<Instant> until, std::vector<CompletedOp>& out) {
  WEIR_CHECK(bound_thread_ == ::gettid());
  arm_wake_read();
  push_deferred();
  const bool more_to_submit = !deferred_.empty() || !deferred_cancels_.empty() || !wake_read_armed_;
  enter(early_.empty() && !more_to_submit ? until : Instant::min());

  out.insert(out.end(), early_.begin(), early_.end());
  early_.clear();
  io_uring_cqe* cqe = nullptr;
  unsigned head = 0;
  unsigned taken = 0;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    if (taken == kCompletionsPerTurnMax) break;
    take(*cqe, out);
    ++taken;
  }
  io_uring_cq_advance(&ring_, taken);
  wake_pending_.exchange(false, std::memory_order_acq_rel);
}

void UringBackend::enter(std::optional<Instant> until) {
  int result = 0;
  if (until) {
    const Instant now = std::chrono::steady_clock::now();
    if (*until <= now) {
      result = io_uring_submit_and_get_events(&ring_);
    } else {
      const Duration left = *until - now;
      __kernel_timespec timeout{.tv_sec = left / 1s, .tv_nsec = (left % 1s).count()};
      io_uring_cqe* unused = nullptr;
      result = io_uring_submit_and_wait_timeout(&ring_, &unused, 1, &timeout, nullptr);
    }
  } else {
    io_uring_cqe* unused = nullptr;
    result = io_uring_submit_and_wait_timeout(&ring_, &unused, 1, nullptr, nullptr);
  }
  // ETIME: `until` came. EINTR: a signal. EAGAIN, EBUSY: the kernel is short of memory or of CQ room;
  // what was not submitted stays queued and is tried again next turn.
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
    case kCancelFd:
      // Ops that had just found no buffer when the cancel ran were not in the kernel any more.
      end_early(starved_, static_cast<int>(cqe.user_data >> kTagBits));
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

// Multishot ends when the CQ overflows or the kernel does not know it; the Op goes on in either case.
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
    WEIR_CHECK(lent && id < options_.recv_buffers);
    const auto bytes = static_cast<std::size_t>(cqe.res);
    out.push_back({&op, {.result = cqe.res, .data = {buffer(id), bytes}, .buffer_id = id}});
    return;
  }
  if (lent) give_back(id);
  if ((cqe.res == -ENOBUFS || cqe.res == -EINTR) && !op.cancel_asked) {
    if (cqe.res == -EINTR) return push(op);
    op.data_waiting = true;
    starved_.push_back(op);
    return;
  }
  out.push_back({&op, {.result = cqe.res == -ENOBUFS ? -ECANCELED : cqe.res}});
}

void UringBackend::add_buffer(std::uint16_t id) {
  io_uring_buf_ring_add(buffer_ring_, buffer(id), options_.recv_buffer_bytes, id,
                        static_cast<int>(options_.recv_buffers - 1), 0);
  io_uring_buf_ring_advance(buffer_ring_, 1);
}

void UringBackend::give_back(std::uint16_t buffer_id) {
  WEIR_CHECK(buffer_id < options_.recv_buffers);
  add_buffer(buffer_id);
  if (!starved_.empty()) push(starved_.pop_front());
}

}  // namespace

Result<std::unique_ptr<Backend>> create_uring_backend(const UringOptions& options) {
  auto backend = std::make_unique<UringBackend>(options);
  const Result<void> made = backend->create();
  if (!made) return std::unexpected(made.error());
  return backend;
}

const char* explain_uring_refusal(int sys_errno) {
  switch (sys_errno) {
    case EPERM:
      return "io_uring_setup is forbidden: sysctl kernel.io_uring_disabled is not 0, or a "
             "container's seccomp profile blocks it; set the sysctl to 0 or allow io_uring_setup, "
             "io_uring_enter and io_uring_register";
    case ENOSYS:
      return "io_uring_setup does not exist here: a kernel or sandbox without io_uring; run on "
             "Linux 6.1 or later, outside sandboxes that hide it";
    case EINVAL:
      return "io_uring_setup refuses every set of flags known here: the kernel is too old; run on "
             "Linux 6.1 or later";
    case ENOMEM:
      return "io_uring_setup has no memory: raise RLIMIT_MEMLOCK or the container's memory limit";
    case EMFILE:
    case ENFILE:
      return "io_uring_setup has no descriptor left: raise RLIMIT_NOFILE";
    default:
      return "io_uring_setup";
  }
}

}  // namespace weir::io
