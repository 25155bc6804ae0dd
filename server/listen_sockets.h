#pragma once
// Listening sockets, made once by the supervisor and kept for its life: the kernel queues
// connections while a serving process is being replaced, so nobody is refused. Per loop and address
// one SO_REUSEPORT TCP socket, or what systemd hands over (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES:
// "admin" names an admin socket by its kind, every other name a serving one, which all loops
// share). Fails with a text that names the address. Descriptors are close-on-exec and belong to the
// caller.

#include <expected>
#include <string>
#include <vector>

namespace weir::server {

inline constexpr int kListenBacklog = 4096;  // what may wait while a serving process is replaced
inline constexpr std::size_t kListenAddressesMax = 16;

struct ListenOptions {
  int loops = 1;
  std::vector<std::string> addresses;  // "127.0.0.1:8443", "[::1]:8443", "localhost:0", "*:443"
  std::string admin_tcp_address;       // loopback; empty: none
  std::string admin_unix_path;         // made with mode 0600; empty: none
};

struct ListenSockets {
  std::vector<std::vector<int>> by_loop;  // [loop][address]
  bool handed_over = false;               // those: they outlive this server
  int admin_tcp_fd = -1;
  int admin_unix_fd = -1;
  std::vector<std::string> addresses;  // as bound: with the port that was chosen for port 0
  std::string admin_tcp_address;
};

std::expected<ListenSockets, std::string> make_listen_sockets(const ListenOptions& options);

// For tests and for a start that failed later.
void close_listen_sockets(ListenSockets& sockets);

}  // namespace weir::server
