#pragma once
// SimClients: the clients of a simulated run: they come, ask in bursts, leave or are cut off, as
// their scripts say. What they ask and what they think of the answers is the run's matter (Asker).
// Owned by the run; one loop.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/client_connection.h"
#include "io/task_scope.h"
#include "io/tls_context.h"
#include "tests/sim/seeded_random.h"
#include "tests/sim/sim_front.h"

namespace weir::sim {

using namespace std::chrono_literals;

inline constexpr io::Duration kRequestPatience = 1h;  // a request that takes longer hangs

struct TlsContexts {
  std::shared_ptr<io::TlsContext> server;
  std::shared_ptr<io::TlsContext> http1_client;
  std::shared_ptr<io::TlsContext> http2_client;
};

enum class ReadingStyle : std::uint8_t { collect, stream, slow, give_up };

struct ClientScript {
  bool tls = false;
  bool http2 = false;
  io::Duration start{};
  std::vector<std::vector<std::size_t>> bursts;  // of HTTP/2: at once; of HTTP/1: one by one
  io::Duration between{};
  std::optional<io::Duration> leaves_after;
  std::optional<io::Duration> cut_after;
  std::int32_t window_bytes = 0;
  bool closes_orderly = true;
};

// `draw_request` draws the next request and returns its number.
template <typename DrawRequest>
ClientScript draw_client(io::SeededRandom& random, DrawRequest draw_request) {
  ClientScript client;
  client.tls = random.one_in(3);
  client.http2 = random.one_in(2);
  client.start = random.duration_up_to(2s);
  for (std::uint64_t bursts = random.between(1, 3); bursts > 0; --bursts) {
    std::vector<std::size_t>& burst = client.bursts.emplace_back();
    const std::uint64_t count = 1 + random.up_to(3);
    for (std::uint64_t i = 0; i < count; ++i) burst.push_back(draw_request());
  }
  client.between = random.duration_up_to(3s);
  if (random.one_in(4)) client.leaves_after = random.duration_up_to(3s);
  if (random.one_in(6)) client.cut_after = random.duration_up_to(3s);
  // Smaller ones make the server take its client for one that dribbles.
  client.window_bytes =
      static_cast<std::int32_t>(random.one_in(3) ? 4096 + random.up_to(65536) : 1 << 20);
  client.closes_orderly = !random.one_in(3);
  return client;
}

// What a client did to its connection, by which a failed request is excused.
struct Connected {
  std::unique_ptr<http::ClientConnection> connection;
  int fd = -1;
  bool left = false;  // for good
  bool cut = false;
  bool http2 = false;
};

class Asker {
 public:
  virtual ~Asker() = default;
  virtual io::Task<void> ask(Connected& at, std::size_t request) = 0;
  virtual void not_asked(std::size_t request) = 0;  // there was no connection for it
};

class SimClients {
 public:
  SimClients(io::EventLoop& loop, io::SimulatedBackend& backend, SimFront& front,
             const TlsContexts& tls, Asker& asker, std::vector<std::string>& violations)
      : loop_(loop),
        backend_(backend),
        front_(front),
        tls_(tls),
        asker_(asker),
        violations_(violations) {}

  void start(const ClientScript& script) { scope_.spawn(run(script)); }
  std::int64_t running() const { return scope_.running(); }

 private:
  io::Task<void> run(const ClientScript& script);
  io::Task<void> leave_later(const ClientScript& script, Connected& at, io::StopToken stop);
  io::Task<void> cut_later(const ClientScript& script, Connected& at, io::StopToken stop);
  io::Task<bool> connect(const ClientScript& script, Connected& at);
  io::Task<void> run_bursts(const ClientScript& script, Connected& at);

  io::EventLoop& loop_;
  io::SimulatedBackend& backend_;
  SimFront& front_;
  const TlsContexts& tls_;
  Asker& asker_;
  std::vector<std::string>& violations_;
  io::TaskScope scope_;
};

// Sends `what` and reads the answer in that style. Errc::cancelled: given up, as the style says.
io::Task<io::Result<http::ClientResponse>> send_and_read(Connected& at, http::ClientRequest what,
                                                         ReadingStyle style, io::Duration pause,
                                                         io::Duration patience);

}  // namespace weir::sim
