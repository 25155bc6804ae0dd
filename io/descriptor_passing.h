#pragma once
// Messages with descriptors over a SEQPACKET UNIX socket (SCM_RIGHTS), without waiting. Sockets and
// descriptors are the caller's; received descriptors are close-on-exec. Bounded by the buffer and
// by kDescriptorsPassedMax. Any thread, one at a time per socket.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "io/error.h"
#include "io/unique_fd.h"

namespace weir::io {

inline constexpr std::size_t kDescriptorsPassedMax = 128;  // below the kernel's SCM_MAX_FD (253)

// A connected SEQPACKET pair, non-blocking and close-on-exec.
Result<std::array<UniqueFd, 2>> make_message_socket_pair();

// The whole message or nothing: Errc::limit when the socket is full, Errc::closed when the peer is
// gone. `bytes` must not be empty (an empty message would look like the end).
Result<void> send_message(int socket, std::span<const std::uint8_t> bytes,
                          std::span<const int> descriptors);

struct ReceivedMessage {
  std::size_t bytes = 0;  // 0: nothing has arrived
  std::vector<UniqueFd> descriptors;
  bool descriptors_lost = false;  // this process may not open more
};

// The next message into `buffer`. Errc::closed at the end of the stream, Errc::protocol when the
// message is longer than `buffer`.
Result<ReceivedMessage> receive_message(int socket, std::span<std::uint8_t> buffer);

}  // namespace weir::io
