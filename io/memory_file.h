#pragma once
// Sealed memory files: bytes that cross between processes as one descriptor and can no more change
// or shrink, so that the other end may map them. Any thread; blocks no longer than copying takes.
// Kernel: memfd_create(2), fcntl(2) F_ADD_SEALS.

#include <cstdint>
#include <string>
#include <string_view>

#include "io/error.h"
#include "io/unique_fd.h"

namespace weir::io {

// `name`: for people who look into /proc.
Result<UniqueFd> make_sealed_memory_file(const char* name, std::string_view content);

// Its size. Errc::invalid for what is none, or is not sealed as above: a peer's descriptor that is
// a pipe would block whoever reads it, a file that shrinks would end who maps it.
Result<std::uint64_t> sealed_memory_bytes(int fd);

// All of it. Errc::limit: more than `bytes_max`.
Result<std::string> read_sealed_memory_file(int fd, std::uint64_t bytes_max);

}  // namespace weir::io
