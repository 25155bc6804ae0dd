#pragma once
// What a loop and its git workers say to each other over a socket pair: one request, one reply, in
// turn. Sans-IO. A frame is a little-endian u32 byte count (<= kWorkerFrameBytesMax) and that many
// bytes: every field of the message in order, integers little-endian, strings and lists after a u32
// count. Both ends are the same binary, but a worker parses hostile repositories and may be taken
// over, so its replies are decoded as hostile bytes: anything malformed is refused as a whole.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "git/loose_refs.h"
#include "git/object_id.h"
#include "git/repository.h"

namespace weir::git {

inline constexpr std::size_t kWorkerFrameBytesMax = 256UL * 1024 * 1024;  // tips: ~7 million ids
// Ids of one peel request: bounds what a worker holds and how long it is away.
inline constexpr std::size_t kPeelIdsMax = 65536;

enum class WorkerOperation : std::uint8_t { read_config, peel, check_wants, list_refs };

struct WorkerRequest {
  WorkerOperation operation = WorkerOperation::read_config;
  std::string git_dir;
  std::string common_dir;
  ObjectFormat format = ObjectFormat::sha1;
  std::uint32_t time_ms_max = 0;
  std::vector<ObjectId> ids;  // peel: to peel; check_wants: the wants
  std::string tips_digest;    // check_wants from here on
  bool has_tips = false;      // false: the worker may know them by their digest
  std::vector<ObjectId> tips;
  bool allow_trees_and_blobs = false;
};

enum class WorkerStatus : std::uint8_t {
  ok,
  need_tips,  // ask again with the tips
  not_found,
  corrupt,
  unavailable,
  limit,
  late,
};

struct WorkerReply {
  WorkerStatus status = WorkerStatus::ok;
  std::string problem;        // for logs and, where the operation says so, users
  RepositoryConfig config;    // read_config
  std::vector<ObjectId> ids;  // peel: one a request id; check_wants: the refused want, or none
  LooseRefs refs;             // list_refs
};

std::string encode_frame(const WorkerRequest& request);
std::string encode_frame(const WorkerReply& reply);
// The body of a frame. False: malformed.
bool decode(std::string_view body, WorkerRequest& request);
bool decode(std::string_view body, WorkerReply& reply);

// The byte count a frame begins with; nullopt when it is out of bounds. `header`: 4 bytes.
inline constexpr std::size_t kFrameHeaderBytes = 4;
std::optional<std::size_t> frame_body_bytes(std::string_view header);

}  // namespace weir::git
