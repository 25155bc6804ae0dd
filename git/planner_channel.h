#pragma once
// How message bodies of git/planner_protocol.h travel between a loop and a planner: one SEQPACKET
// message each, short ones in it, longer ones in a sealed memory file that goes along. Neither end
// waits here. Hostile where it receives: what is no packet of ours, a file that is not sealed or
// larger than `bytes_max` is Errc::protocol. Layout: a byte, 0 or 1; 0: then the body; 1: nothing,
// and the body is in the last descriptor. Sockets are the caller's.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/descriptor_passing.h"
#include "io/error.h"
#include "io/unique_fd.h"

namespace weir::git {

inline constexpr std::size_t kPlannerPacketBytesMax = 64 * 1024;  // below a socket's send buffer
inline constexpr std::size_t kFilesPerPacketMax = io::kDescriptorsPassedMax - 1;

struct PlannerPacket {
  std::string bytes;
  io::UniqueFd body;             // of a long one
  std::vector<int> descriptors;  // borrowed; `body` the last
};
// `descriptors`: at most kFilesPerPacketMax, open until the packet has been sent.
io::Result<PlannerPacket> make_packet(std::string_view body, std::span<const int> descriptors);
// As io::send_message().
io::Result<void> send_packet(int socket, const PlannerPacket& packet);

struct ReceivedPacket {
  std::string bytes;  // the body, unless it is in `file`
  io::UniqueFd file;  // sealed
  std::vector<io::UniqueFd> descriptors;
  // The body; reads the file, whose pages are in memory.
  io::Result<std::string> take_body(std::uint64_t bytes_max);
};
// Errc::limit: nothing has arrived; Errc::closed: the end. `buffer`: kPlannerPacketBytesMax bytes.
io::Result<ReceivedPacket> receive_packet(int socket, std::span<std::uint8_t> buffer,
                                          std::uint64_t bytes_max);

}  // namespace weir::git
