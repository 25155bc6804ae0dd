#pragma once
// The io_uring Backend: one ring, one provided-buffer ring and one wake descriptor of one loop.
// Owned by its EventLoop. Made on any thread, bound by start() to the loop's. Bounded: CQ entries
// (the kernel keeps what overflows), receive buffers (a recv that finds none waits in a FIFO and is
// re-armed when a buffer comes back). What the kernel offers is found by trying, never by its
// version: required parts missing make create fail with a reason, optional ones fall back and show
// in describe().

#include <cstdint>
#include <memory>

#include "io/backend.h"

namespace weir::io {

// SQ: what one turn submits between two system calls; more just means another call.
inline constexpr unsigned kSqEntries = 512;
// CQ: sized for connections and bursts, since multishot accepts and thousands of armed recvs
// complete without being submitted again.
inline constexpr unsigned kCqEntries = 8192;
static_assert(kCqEntries >= 2 * kSqEntries);
static_assert(kRecvBuffers <= kCqEntries);

// io-wq threads of one loop, for file reads that miss the page cache (bounded) and what cannot be
// polled (unbounded, in the kernel's words): few, so that a cold disk does not become a thread
// storm.
inline constexpr unsigned kIoWorkersBoundedMax = 4;
inline constexpr unsigned kIoWorkersUnboundedMax = 4;

struct UringOptions {
  unsigned sq_entries = kSqEntries;
  unsigned cq_entries = kCqEntries;
  unsigned recv_buffers = kRecvBuffers;  // a power of two
  unsigned recv_buffer_bytes = kRecvBufferBytes;
  unsigned io_workers_bounded_max = kIoWorkersBoundedMax;
  unsigned io_workers_unbounded_max = kIoWorkersUnboundedMax;
  bool multishot_accept = true;  // switches for kernels where a feature misbehaves
  bool msg_ring = true;
};

// Errc::system with a reason an operator can act on, or Errc::unavailable when a required part of
// io_uring is missing.
Result<std::unique_ptr<Backend>> create_uring_backend(const UringOptions& options);

// Why io_uring_setup was refused and what to do about it.
const char* explain_uring_refusal(int sys_errno);

}  // namespace weir::io
