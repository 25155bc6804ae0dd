#include "io/epoll_ops.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace weir::io {
namespace {

using Next = Attempt::Next;

Attempt done(std::int64_t result) {
  return {Next::done, static_cast<std::int32_t>(result)};
}
Attempt failed() {
  return done(-errno);
}

std::span<std::uint8_t> rest_of(const Op& op) {
  return op.buffer.first(std::min(op.buffer.size(), kTransferBytesMax)).subspan(op.moved_bytes);
}

Attempt try_connect(Op& op) {
  make_non_blocking(op.fd);
  if (::connect(op.fd, op.address, op.address_bytes) == 0) return done(0);
  // EINTR: it goes on by itself, like EINPROGRESS.
  if (errno == EINPROGRESS || errno == EINTR) return {Next::wait};
  return failed();
}

Attempt connected(const Op& op) {
  int problem = 0;
  socklen_t bytes = sizeof problem;
  if (::getsockopt(op.fd, SOL_SOCKET, SO_ERROR, &problem, &bytes) != 0) return failed();
  if (problem == 0 && poll_now(op.fd, POLLOUT) == 0) return {Next::wait};
  return done(-problem);
}

// All of it, as MSG_WAITALL makes io_uring do: what does not fit now waits for room. An error
// after some bytes is told by the next send.
Attempt try_send(Op& op) {
  for (;;) {
    const std::span<std::uint8_t> rest = rest_of(op);
    const ssize_t sent = ::send(op.fd, rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      op.moved_bytes += static_cast<std::uint32_t>(sent);
      if (static_cast<std::size_t>(sent) == rest.size()) return done(op.moved_bytes);
      return {Next::wait};
    }
    if (errno == EAGAIN) return {Next::wait};
    if (errno != EINTR) return op.moved_bytes > 0 ? done(op.moved_bytes) : failed();
  }
}

bool is_stored(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
}

// For descriptors that do not know RWF_NOWAIT: pipes and sockets before Linux 6.4, terminals, and
// files of some file systems.
Attempt try_plain(Op& op) {
  if (is_stored(op.fd)) return {Next::thread};
  const bool reads = op.kind == OpKind::read;
  std::span<std::uint8_t> bytes = rest_of(op);
  const int flags = ::fcntl(op.fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) == 0) {
    if (poll_now(op.fd, reads ? POLLIN : POLLOUT) == 0) return {Next::wait};
    // A blocking pipe that is writable has room for this much.
    if (!reads) bytes = bytes.first(std::min<std::size_t>(bytes.size(), PIPE_BUF));
  }
  for (;;) {
    const ssize_t moved = reads ? ::read(op.fd, bytes.data(), bytes.size())
                                : ::write(op.fd, bytes.data(), bytes.size());
    if (moved >= 0) return done(moved);
    if (errno == EAGAIN) return {Next::wait};
    if (errno != EINTR) return failed();
  }
}

Attempt try_file(Op& op) {
  const std::span<std::uint8_t> bytes = rest_of(op);
  const iovec part{bytes.data(), bytes.size()};
  auto offset = static_cast<off_t>(op.offset);  // kNoOffset is -1: the file's own position
  for (;;) {
    const ssize_t moved = op.kind == OpKind::read ? ::preadv2(op.fd, &part, 1, offset, RWF_NOWAIT)
                                                  : ::pwritev2(op.fd, &part, 1, offset, RWF_NOWAIT);
    if (moved >= 0) {
      // Of a file, only a part may be in the page cache; the caller asked for all.
      const bool part_only = moved > 0 && static_cast<std::size_t>(moved) < bytes.size();
      if (!part_only || op.offset == kNoOffset || !is_stored(op.fd)) return done(moved);
      op.moved_bytes = static_cast<std::uint32_t>(moved);
      return {Next::thread};
    }
    switch (errno) {
      case EINTR:
        continue;
      case EAGAIN:
        return {Next::wait};
      case EOPNOTSUPP:
      case ENOSYS:
        return try_plain(op);
      case ESPIPE:  // pipes and sockets have no offsets: io_uring ignores them there
        if (offset == -1) return failed();
        offset = -1;
        continue;
      default:
        return failed();
    }
  }
}

}  // namespace

Attempt try_op(Op& op) {
  switch (op.kind) {
    case OpKind::connect:
      return try_connect(op);
    case OpKind::send:
      return try_send(op);
    case OpKind::read:
    case OpKind::write:
      return try_file(op);
    default:
      WEIR_CHECK(false);
  }
}

Attempt try_again(Op& op) {
  return op.kind == OpKind::connect ? connected(op) : try_op(op);
}

std::int32_t poll_now(int fd, std::uint32_t mask) {
  pollfd asked{fd, static_cast<short>(mask | POLLRDHUP), 0};
  while (::poll(&asked, 1, 0) < 0) {
    if (errno != EINTR) return -errno;
  }
  if (fd < 0 || (asked.revents & POLLNVAL) != 0) return -EBADF;
  return static_cast<unsigned short>(asked.revents);
}

void make_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) == 0) ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

std::int32_t finish_file_op(const Op& op) {
  const std::span<std::uint8_t> bytes = rest_of(op);
  const auto offset = static_cast<off_t>(op.offset + op.moved_bytes);
  const bool at = op.offset != kNoOffset;
  ssize_t moved = 0;
  do {
    if (op.kind == OpKind::read) {
      moved = at ? ::pread(op.fd, bytes.data(), bytes.size(), offset)
                 : ::read(op.fd, bytes.data(), bytes.size());
    } else {
      moved = at ? ::pwrite(op.fd, bytes.data(), bytes.size(), offset)
                 : ::write(op.fd, bytes.data(), bytes.size());
    }
  } while (moved < 0 && errno == EINTR);
  if (moved < 0 && op.moved_bytes == 0) return -errno;
  return static_cast<std::int32_t>(op.moved_bytes + std::max<ssize_t>(moved, 0));
}

}  // namespace weir::io
