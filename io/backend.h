#pragma once
// Backend: the kernel interface of one event loop. io_uring, epoll and the simulated one implement
// the same operations and must be indistinguishable to callers. All calls but wake()
// and stats() are made on the loop thread. Completions are collected by wait() and run by the loop
// afterwards.

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/clock.h"
#include "io/error.h"
#include "io/op.h"

namespace weir::io {

// What one recv can bring: about one maximal TLS record, so bulk uploads cost one recv a record.
inline constexpr unsigned kRecvBufferBytes = 16 * 1024;
// Lent only while a handler runs, so they bound the recvs that complete in one turn, not
// connections.
inline constexpr unsigned kRecvBuffers = 1024;
static_assert((kRecvBuffers & (kRecvBuffers - 1)) == 0, "the kernel wants a power of two");
static_assert(kRecvBuffers < kNoBuffer);
static_assert(std::uint64_t{kRecvBuffers} * kRecvBufferBytes <= 16 * 1024 * 1024, "16 MiB a loop");

struct CompletedOp {
  Op* op;
  Completion completion;
};

// Written on the loop thread, read by any.
struct BackendStats {
  std::atomic<std::int64_t> recvs_parked{0};  // now, waiting for a receive buffer
  std::atomic<std::uint64_t> recvs_parked_total{0};
  std::atomic<std::uint64_t> submits_deferred{0};  // operations that found the queue full
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Takes the op in flight. Never fails: what cannot be submitted completes with -errno.
  void submit(Op& op) {
    WEIR_CHECK(!op.in_flight_ && op.on_complete != nullptr);
    op.in_flight_ = true;
    op.cancel_asked = false;
    do_submit(op);
  }
  // Asks for an early end; the op still completes (with -ECANCELED, or with what it got done).
  virtual void cancel(Op& op) = 0;
  // shutdown(2) of a socket, at once; fails silently when it is not connected any more.
  virtual void shut_down(int fd, int how) { ::shutdown(fd, how); }
  // read(2) and write(2) of a non-blocking pipe, at once: what is there, what fits; or -errno,
  // -EAGAIN where the caller has to wait (OpKind::poll).
  virtual ssize_t read_now(int fd, std::span<std::uint8_t> into) {
    return or_errno([&] { return ::read(fd, into.data(), into.size()); });
  }
  virtual ssize_t write_now(int fd, std::span<const std::uint8_t> bytes) {
    return or_errno([&] { return ::write(fd, bytes.data(), bytes.size()); });
  }
  // Binds the backend to the calling thread (the loop thread), once, before the first wait().
  virtual Result<void> start() = 0;
  // Submits what is pending, waits until a completion, wake() or `until` (nullopt: no limit; a past
  // instant: do not wait) and appends completions to `out`.
  virtual void wait(std::optional<Instant> until, std::vector<CompletedOp>& out) = 0;
  // Ends a current or the next wait(). Any thread; cheap when called repeatedly.
  virtual void wake() = 0;
  // Returns a lent receive buffer; a starved recv is re-armed by this, in order of arrival.
  virtual void give_back(std::uint16_t buffer_id) = 0;
  // "io_uring" or "epoll"; for logs and the weir_io_backend metric.
  virtual const char* name() const = 0;
  // One line: which kernel features were found and which fell back.
  virtual std::string describe() const = 0;
  const BackendStats& stats() const { return stats_; }

  // For the loop, when it runs a completion: ends the op's flight unless `more`.
  static void landed(Op& op, const Completion& completion) {
    WEIR_CHECK(op.in_flight_);
    if (!completion.more) op.in_flight_ = false;
  }

 protected:
  virtual void do_submit(Op& op) = 0;
  BackendStats stats_;

 private:
  template <typename Call>
  static ssize_t or_errno(Call call) {
    ssize_t result = 0;
    do {
      result = call();
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
  }
};

}  // namespace weir::io
