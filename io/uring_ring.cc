#include "io/uring_ring.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

namespace weir::io {
namespace {

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
constexpr std::array kOpcodesRequired = {
    IORING_OP_ACCEPT, IORING_OP_CONNECT, IORING_OP_RECV,     IORING_OP_SEND,        IORING_OP_READ,
    IORING_OP_WRITE,  IORING_OP_CLOSE,   IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};

// What bind_to_thread() and the destructor ask of a running ring.
constexpr std::array kRegistrationsAllowed = {IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS,
                                              IORING_REGISTER_IOWQ_MAX_WORKERS};

}  // namespace

Result<std::unique_ptr<UringRing>> UringRing::create(const UringOptions& options) {
  std::unique_ptr<UringRing> ring(new UringRing);
  if (const Result<void> made = ring->set_up(options); !made) return std::unexpected(made.error());
  if (const Result<void> has = ring->check_parts(); !has) return std::unexpected(has.error());
  io_uring_ring_dontfork(&ring->ring_);
  return ring;
}

UringRing::~UringRing() {
  if (!made_) return;
  // A registered ring descriptor is a slot in its thread's own table; unregistering it from another
  // thread would free that thread's slot instead. The kernel frees ours with our thread.
  constexpr int kRegisteredRingFlag = 1;
  if (!bound_here()) {
    ring_.int_flags =
        static_cast<decltype(ring_.int_flags)>(ring_.int_flags & ~kRegisteredRingFlag);
  }
  io_uring_queue_exit(&ring_);
}

bool UringRing::bound_here() const {
  // Asked once a turn. Not the pthread id: the next thread may get that of one that has ended.
  static thread_local const pid_t own_thread = ::gettid();
  return bound_thread_ == own_thread;
}

Result<void> UringRing::set_up(const UringOptions& options) {
  int refused = EINVAL;
  for (const SetupRung& rung : kSetupLadder) {
    io_uring_params params{};
    params.flags = rung.flags;
    params.cq_entries = options.cq_entries;
    refused = -io_uring_queue_init_params(options.sq_entries, &ring_, &params);
    if (refused == 0) {
      made_ = true;
      rung_name_ = rung.name;
      return {};
    }
    if (refused != EINVAL) break;  // not a matter of flags
  }
  return fail(Errc::system, explain_uring_refusal(refused), refused);
}

Result<void> UringRing::check_parts() {
  if ((ring_.features & kFeaturesRequired) != kFeaturesRequired) {
    return fail(Errc::unavailable, "io_uring lacks required features (Linux 6.1 has them)");
  }
  const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(
      io_uring_get_probe_ring(&ring_), io_uring_free_probe);
  if (probe == nullptr) return fail(Errc::unavailable, "io_uring operation probe");
  for (const io_uring_op opcode : kOpcodesRequired) {
    if (io_uring_opcode_supported(probe.get(), opcode) == 0) {
      return fail(Errc::unavailable, "io_uring lacks a required operation (Linux 6.1 has them)");
    }
  }
  has_msg_ring_ = io_uring_opcode_supported(probe.get(), IORING_OP_MSG_RING) != 0;
  restricted_ = restrict_operations();
  return {};
}

// In force from IORING_REGISTER_ENABLE_RINGS on.
bool UringRing::restrict_operations() {
  std::vector<io_uring_restriction> allowed;
  const auto allow = [&](std::uint16_t kind) -> io_uring_restriction& {
    allowed.push_back({});
    allowed.back().opcode = kind;
    return allowed.back();
  };
  for (const io_uring_op opcode : kOpcodesRequired) {
    allow(IORING_RESTRICTION_SQE_OP).sqe_op = static_cast<std::uint8_t>(opcode);
  }
  if (has_msg_ring_) allow(IORING_RESTRICTION_SQE_OP).sqe_op = IORING_OP_MSG_RING;
  for (const auto registration : kRegistrationsAllowed) {
    allow(IORING_RESTRICTION_REGISTER_OP).register_op = static_cast<std::uint8_t>(registration);
  }
  allow(IORING_RESTRICTION_SQE_FLAGS_ALLOWED).sqe_flags =
      IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
  return ::syscall(__NR_io_uring_register, fd(), IORING_REGISTER_RESTRICTIONS, allowed.data(),
                   allowed.size()) == 0;
}

Result<void> UringRing::bind_to_thread(const UringOptions& options) {
  WEIR_CHECK(!bound());
  // By hand: liburing 2.3 declares io_uring_enable_rings() but does not export it.
  if (::syscall(__NR_io_uring_register, fd(), IORING_REGISTER_ENABLE_RINGS, nullptr, 0) < 0) {
    return fail_errno("enable io_uring");
  }
  bound_thread_ = ::gettid();
  // Best effort both: without them the ring is slower to enter, or cold files make more threads.
  fd_registered_ = io_uring_register_ring_fd(&ring_) == 1;
  std::array<unsigned, 2> workers = {options.io_workers_bounded_max,
                                     options.io_workers_unbounded_max};
  io_uring_register_iowq_max_workers(&ring_, workers.data());
  return {};
}

std::string UringRing::describe() const {
  return std::string(rung_name_) + ", CQ " + std::to_string(*ring_.cq.kring_entries) +
         (fd_registered_ ? ", ring registered" : ", ring not registered") +
         (restricted_ ? ", operations restricted" : ", operations not restricted");
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
