// Any bytes behind a client's preface, in pieces of any size, through Stream, session and handlers:
// nothing breaks, every exchange is released, every connection ends. The first byte sets the size
// of the pieces, the second how far time moves each turn.
#include <fcntl.h>
#include <sys/socket.h>

#include <string>

#include "tests/fuzz/memory_backend.h"
#include "tests/http/path_server.h"

namespace {

using namespace std::chrono_literals;
namespace io = weir::io;

constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

// A descriptor for shutdown() and getsockopt() to act on; never read, written or closed.
int idle_socket() {
  static const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return fd;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::vector<std::uint8_t> input(kPreface.begin(), kPreface.end());
  input.insert(input.end(), data + 2, data + size);
  io::ManualClock clock;
  auto backend = std::make_unique<io::MemoryBackend>(input, kPreface.size() + data[0] * 16U);
  io::MemoryBackend& memory = *backend;
  io::EventLoop loop(0, std::move(backend), clock);
  if (!loop.start()) return 0;
  {
    weir::http::PathServer server;
    server.bulk_bytes = 300'000;
    server.accept(loop, idle_socket());
    for (int turn = 0; turn < 64 || (turn < 4096 && !memory.input_used_up()); ++turn) {
      clock.advance(data[1] * 10ms);
      loop.turn(io::Instant::min());
    }
    memory.end_input();
    server.open_gate();
    for (int turn = 0; turn < 16; ++turn) loop.turn(io::Instant::min());
    server.abort_all();
    for (int turn = 0; turn < 64 && !server.idle(); ++turn) loop.turn(io::Instant::min());
    WEIR_CHECK(server.idle());
  }
  return 0;
}
