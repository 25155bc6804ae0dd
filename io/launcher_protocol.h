#pragma once
// Messages between LauncherClient and the launcher, one a SEQPACKET packet. Sans-IO: bytes in,
// values out. Little-endian; a first byte names the kind; strings and lists carry a 32-bit length.
// Every field is bounded and a message must be used up exactly; anything else is Errc::protocol.
// Descriptors travel beside the bytes (SCM_RIGHTS), in the order each kind names.

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "io/error.h"
#include "io/subprocess.h"

namespace weir::io {

inline constexpr std::size_t kLauncherMessageBytesMax = 64 * 1024;  // below a socket's send buffer
inline constexpr std::size_t kLauncherStringsMax = 512;             // arguments; variables
inline constexpr std::size_t kChildrenPerClientMax = 1024;
inline constexpr std::uint64_t kChildFilesMax = 1024 * 1024;

// Requests. Ids are the client's; one is used once.
struct SpawnRequest {  // descriptors: the child's 0, 1, [2 unless merge_stderr], [3 if channel]
  std::uint64_t id = 0;
  SubprocessSpec spec;
  std::size_t descriptor_count() const {
    return 2U + (spec.merge_stderr ? 0U : 1U) + (spec.channel ? 1U : 0U);
  }
};
// The child outlives its client; its output is then read to nowhere so that it never meets SIGPIPE.
struct FinishRequest {  // descriptors: the read ends of its output
  std::uint64_t id = 0;
};
// The client reads a finishing child's output no more.
struct LetGoRequest {
  std::uint64_t id = 0;
};
// Signals the process group, if the child has not ended.
struct KillRequest {
  std::uint64_t id = 0;
  int signal = 0;
};
using LauncherRequest = std::variant<SpawnRequest, FinishRequest, LetGoRequest, KillRequest>;

// Replies.
struct SpawnedReply {  // descriptor: its pidfd
  std::uint64_t id = 0;
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
};
struct SpawnFailedReply {
  std::uint64_t id = 0;
  int sys_errno = 0;
  std::string step;  // the call that failed, e.g. "execve"; at most kSpawnStepBytesMax
};
struct ExitedReply {
  std::uint64_t id = 0;
  ExitStatus status;
};
using LauncherReply = std::variant<SpawnedReply, SpawnFailedReply, ExitedReply>;

inline constexpr std::size_t kSpawnStepBytesMax = 64;

// Errc::invalid for a spec that the launcher would refuse, Errc::limit for one that is too long.
Result<std::vector<std::uint8_t>> encode(const LauncherRequest& request);
std::vector<std::uint8_t> encode(const LauncherReply& reply);

Result<LauncherRequest> decode_request(std::span<const std::uint8_t> bytes);
Result<LauncherReply> decode_reply(std::span<const std::uint8_t> bytes);

}  // namespace weir::io
