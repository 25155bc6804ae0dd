#pragma once
// The operations of the epoll Backend as single attempts that do not block. No state but the Op's
// own notes. An attempt ends the op, or says what it has to wait for: its descriptor, or a thread
// because its file cannot be waited for.

#include <cstdint>

#include "io/op.h"

namespace weir::io {

inline constexpr std::size_t kTransferBytesMax = std::size_t{1} << 30;  // results are int32

struct Attempt {
  enum class Next : std::uint8_t { done, wait, thread };
  Next next;
  std::int32_t result = 0;
};

// connect, send, read or write. A send or connect that waited is tried by the second function.
Attempt try_op(Op& op);
Attempt try_again(Op& op);

// What poll(2) says now; -EBADF for no descriptor.
std::int32_t poll_now(int fd, std::uint32_t mask);
void make_non_blocking(int fd);

// The rest of a read or write, blocking: for threads.
std::int32_t finish_file_op(const Op& op);

}  // namespace weir::io
