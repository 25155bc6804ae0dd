#pragma once
// The epoll Backend: the same operations where io_uring is forbidden (a container's default seccomp
// profile) or missing. Owned by its EventLoop, made on any thread, bound by start() to the loop's.
//
// An operation is tried without blocking in the first wait() after its submission, never inside
// submit(); one that would block joins its descriptor's list of waiting operations, and the
// descriptor is armed before the loop sleeps. recv, accept and poll are not tried first: they
// usually have to wait. A file read that misses the page cache (epoll refuses files, and
// RWF_NOWAIT says that it would block) is done by one of a few threads.
//
// Descriptors are armed level-triggered and one-shot. Edge-triggered registrations would save one
// system call a wait, but outlive a descriptor that its owner has closed while a copy lives (pipe
// ends handed to children), and a number that is used again would inherit their silence. Here:
// - whatever has fired, or has no operation waiting, is disarmed: an owner may close it as with
//   io_uring, and a registration that lives on through a copy never fires;
// - arming finds out by itself (ENOENT, EEXIST) that a number now means another file;
// - events carry the generation of their registration, so a stale one is not taken for a new one;
// - readiness is only a hint: operations are tried again without blocking.
//
// Bounded: receive buffers (as with io_uring: a recv that finds none waits in a FIFO), completions
// of one turn, threads for files; lists hold operations their owners made. What it cannot do like
// io_uring: a descriptor must not be closed while operations on it are in flight (join first), and
// a listening socket is made non-blocking, since another process may take the connection.
// See epoll(7), readv(2) for RWF_NOWAIT.

#include <memory>

#include "io/backend.h"

namespace weir::io {

// As many as io_uring may use for cold files.
inline constexpr unsigned kFileThreadsMax = 4;

struct EpollOptions {
  unsigned recv_buffers = kRecvBuffers;
  unsigned recv_buffer_bytes = kRecvBufferBytes;
  unsigned file_threads_max = kFileThreadsMax;  // made when the first file read has to wait
};

Result<std::unique_ptr<Backend>> create_epoll_backend(const EpollOptions& options);

}  // namespace weir::io
