#pragma once
// ControlChannel: the serving process's end of its socket to the supervisor (SEQPACKET,
// non-blocking). One owner, one thread at a time. The peer is our own supervisor; a message that
// makes no sense is skipped. The end of the stream means that the supervisor is gone: drain, then
// exit.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "io/error.h"
#include "io/stop_token.h"
#include "io/task.h"

namespace weir::server {

inline constexpr std::size_t kControlDescriptorsMax = 128;  // one launcher socket a loop

inline constexpr std::uint8_t kControlReady = 1;  // the only message to the supervisor

enum class ControlKind : std::uint8_t {
  reload,            // SIGHUP: read tokens, certificates and rules again
  drain,             // finish what runs, accept nothing, exit
  stop,              // end now
  launcher_sockets,  // a new launcher: descriptors[i] is for loop i (LauncherClient::reconnect)
  supervisor_gone,   // last message of all
};

struct ControlMessage {
  ControlKind kind;
  std::vector<int> descriptors;  // owned by the receiver
};

class ControlChannel {
 public:
  explicit ControlChannel(int fd) : fd_(fd) {}  // borrowed: open as long as the process lives

  // The next message that has already arrived, or nothing. For callers that poll `fd()` themselves.
  std::optional<ControlMessage> receive();
  // Waits for the next message on the current loop; fails only with Errc::cancelled.
  io::Task<io::Result<ControlMessage>> next(io::StopToken stop);
  // Tells the supervisor that this process serves (a death before that, at the first start, ends
  // it).
  void send_ready();
  int fd() const { return fd_; }

 private:
  int fd_;
  bool ended_ = false;
};

// The supervisor's side; false when the message could not be sent. Borrows `descriptors`.
bool send_control(int fd, ControlKind kind, const std::vector<int>& descriptors = {});

}  // namespace weir::server
