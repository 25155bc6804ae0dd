// Frames from a worker that was taken over, and requests of any bytes.

#include <cstdint>
#include <string_view>

#include "git/worker_protocol.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  const std::string_view body(reinterpret_cast<const char*>(data), bytes);
  git::WorkerReply reply;
  if (git::decode(body, reply)) {
    WEIR_CHECK(git::encode_frame(reply).substr(git::kFrameHeaderBytes) == body);
  }
  git::WorkerRequest request;
  if (git::decode(body, request)) {
    WEIR_CHECK(git::encode_frame(request).substr(git::kFrameHeaderBytes) == body);
  }
  return 0;
}
