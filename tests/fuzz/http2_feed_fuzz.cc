// Any bytes behind a client's preface, in pieces of any size, through Stream, session and handlers:
// nothing breaks, every exchange is released, every connection ends. The first byte sets the size
// of the pieces, the second how far time moves each turn.
#include <string>

#include "tests/http/path_server.h"
#include "tests/sim/simulated_backend.h"

namespace {

using namespace std::chrono_literals;
namespace io = weir::io;

constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::vector<std::uint8_t> input(kPreface.begin(), kPreface.end());
  input.insert(input.end(), data + 2, data + size);
  io::ManualClock clock;
  io::SimulatedFaults faults = io::SimulatedFaults::none();
  faults.recv_buffers = 1;
  faults.recv_buffer_bytes = kPreface.size() + data[0] * 16U;
  auto backend = std::make_unique<io::SimulatedBackend>(clock, 0, faults);
  io::SimulatedBackend& simulated = *backend;
  io::EventLoop loop(0, std::move(backend), clock);
  if (!loop.start()) return 0;
  {
    weir::http::PathServer server;
    server.bulk_bytes = 300'000;
    const int fd = simulated.socket_of_nobody();
    simulated.feed(fd, input);
    server.accept(loop, fd);
    for (int turn = 0; turn < 64 || (turn < 4096 && !simulated.input_used_up(fd)); ++turn) {
      clock.advance(data[1] * 10ms);
      loop.turn(io::Instant::min());
    }
    simulated.feed_end(fd);
    server.open_gate();
    for (int turn = 0; turn < 16; ++turn) loop.turn(io::Instant::min());
    server.abort_all();
    for (int turn = 0; turn < 64 && !server.idle(); ++turn) loop.turn(io::Instant::min());
    WEIR_CHECK(server.idle());
  }
  return 0;
}
