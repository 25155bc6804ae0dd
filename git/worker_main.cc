// The git worker's process: one request at a time from descriptor 3, until it is closed.

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "git/worker_pool.h"
#include "git/worker_protocol.h"
#include "git/worker_repository.h"

namespace weir::git {
namespace {

constexpr int kSocket = 3;

bool read_all(char* into, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::read(kSocket, into, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    into += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(kSocket, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

int worker_main(const std::string& git_path) {
  ::signal(SIGPIPE, SIG_IGN);
  WorkerRepositories repositories(git_path);
  for (;;) {
    std::string header(kFrameHeaderBytes, '\0');
    if (!read_all(header.data(), header.size())) return 0;
    const auto bytes = frame_body_bytes(header);
    if (!bytes) return 1;
    std::string body(*bytes, '\0');
    WorkerRequest request;
    if (!read_all(body.data(), body.size()) || !decode(body, request)) return 1;
    body = {};
    if (!write_all(encode_frame(repositories.handle(request)))) return 0;
  }
}

}  // namespace weir::git
