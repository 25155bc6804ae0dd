#include "server/control_channel.h"

#include <poll.h>

#include <array>

#include "io/descriptor_passing.h"
#include "io/fd_ops.h"
#include "io/signal.h"

namespace weir::server {

static_assert(kControlDescriptorsMax <= io::kDescriptorsPassedMax);

std::optional<ControlMessage> ControlChannel::receive() {
  while (!ended_) {
    std::array<std::uint8_t, 16> buffer;
    io::Result<io::ReceivedMessage> message = io::receive_message(fd_, buffer);
    if (!message) {
      if (message.error().code == io::Errc::protocol) continue;
      ended_ = true;
      return ControlMessage{ControlKind::supervisor_gone, {}};
    }
    if (message->bytes == 0) return std::nullopt;
    if (buffer[0] >= static_cast<std::uint8_t>(ControlKind::supervisor_gone)) continue;
    ControlMessage received{static_cast<ControlKind>(buffer[0]), {}};
    for (io::UniqueFd& fd : message->descriptors) received.descriptors.push_back(fd.release());
    return received;
  }
  return std::nullopt;
}

io::Task<io::Result<ControlMessage>> ControlChannel::next(io::StopToken stop) {
  for (;;) {
    std::optional<ControlMessage> message = receive();
    if (message) co_return std::move(*message);
    // After the end nothing comes any more: wait for the stop alone (an empty poll of a dead socket
    // would return at once).
    if (ended_) {
      io::Signal never;
      co_await never.wait(stop);
      co_return io::fail(io::Errc::cancelled, "control channel");
    }
    const io::Result<std::size_t> ready = co_await io::poll_fd(fd_, POLLIN, stop);
    if (!ready && ready.error().code == io::Errc::cancelled)
      co_return std::unexpected(ready.error());
  }
}

void ControlChannel::send_ready() {
  // A supervisor that does not listen any more is noticed by receive().
  static_cast<void>(io::send_message(fd_, std::array<std::uint8_t, 1>{kControlReady}, {}));
}

bool send_control(int fd, ControlKind kind, const std::vector<int>& descriptors) {
  const std::array<std::uint8_t, 1> bytes{static_cast<std::uint8_t>(kind)};
  return io::send_message(fd, bytes, descriptors).has_value();
}

}  // namespace weir::server
