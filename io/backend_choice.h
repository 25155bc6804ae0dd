#pragma once
// Which Backend a loop gets: io_uring, or epoll where io_uring is refused. Any thread. Falling back
// is loud: one warning in the log a process, the weir_io_backend metric, /v1/status.

#include <memory>
#include <optional>
#include <string_view>

#include "io/backend.h"

namespace weir::io {

enum class BackendKind : std::uint8_t { automatic, io_uring, epoll };

// "auto", "io_uring" or "epoll".
std::optional<BackendKind> parse_backend_kind(std::string_view text);

// automatic: io_uring, and epoll for whatever reason that is not to be had.
Result<std::unique_ptr<Backend>> create_backend(BackendKind kind,
                                                unsigned recv_buffers = kRecvBuffers);

}  // namespace weir::io
