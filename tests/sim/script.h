#pragma once
// Script: what a simulated run does, drawn from its seed: the faults of its network, its clients
// and every request with what its handler and its client will do with it. Requests also collect
// what was seen of them, on both sides. Plain data, owned by the run.

#include <deque>
#include <optional>
#include <vector>

#include "tests/sim/sim_clients.h"

namespace weir::sim {

enum class RequestKind : std::uint8_t {
  small,   // a short answer
  bulk,    // a long one, in pieces
  file,    // read from a descriptor and passed on
  slow,    // pauses between its pieces
  upload,  // reads the body, answers with a piece of the pattern
  echo,    // answers with the body while it reads it
  early,   // 403 without a look at the body
  hold,    // no answer: until its client leaves
  abort,   // half of an answer, then abort()
  lying,   // less than was promised, then finish()
  drop,    // released without an answer
};
inline constexpr std::uint64_t kRequestKinds = 11;

struct Request {
  std::size_t number = 0;
  RequestKind kind = RequestKind::small;
  std::size_t upload_bytes = 0;
  std::size_t answer_bytes = 0;
  std::size_t piece_bytes = 1;
  bool sized = true;  // the answer has a content-length
  bool chunked = false;
  bool expect = false;  // 100-continue
  io::Duration pause{};
  ReadingStyle style = ReadingStyle::collect;
  io::Duration patience{};  // hold, and between two reads of a slow reader

  // What was seen.
  int handled = 0;
  bool released = false;
  bool saw_stop = false;
  bool client_ended = false;

  bool can_complete() const {
    return kind != RequestKind::hold && kind != RequestKind::abort && kind != RequestKind::lying &&
           kind != RequestKind::drop;
  }
};

// A client that is no HTTP client.
enum class StrayKind : std::uint8_t { silent, garbage, half_head, deaf, half_closed };
struct StrayScript {
  StrayKind kind = StrayKind::silent;
  bool tls_port = false;
  io::Duration start{};
  io::Duration leaves_after{};
  Request* request = nullptr;  // deaf and half_closed
};

struct Script {
  io::SimulatedFaults faults;
  std::deque<Request> requests;
  std::vector<ClientScript> clients;
  std::vector<StrayScript> strays;
  std::optional<io::Duration> drain_after;
};

Script draw_script(io::SeededRandom& random);
const char* to_string(RequestKind kind);
std::string describe(const Request& request);

// The bytes of request `number`: any piece of them can be told from any other.
std::span<const std::uint8_t> pattern(std::size_t number, std::size_t offset, std::size_t bytes);
inline constexpr std::size_t kPatternBytesMax = 1 << 20;

}  // namespace weir::sim
