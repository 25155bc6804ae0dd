#include "tests/sim/simulation.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "http/client_connection.h"
#include "io/buffer_recycler.h"
#include "io/frame_pool.h"
#include "io/task_scope.h"
#include "tests/sim/sim_server.h"
#include "tests/sim/stray_client.h"

namespace weir::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kTurnsMax = 1'000'000;
constexpr io::Duration kVirtualTimeMax = 2h;
constexpr io::Duration kRequestPatience = 1h;    // a request that takes longer hangs
constexpr io::Duration kGoodbyePatience = 150s;  // the server's longest timeout, twice

class Simulation {
 public:
  Simulation(std::uint64_t seed, const TlsContexts& tls)
      : random_(seed),
        tls_(tls),
        script_(draw_script(random_)),
        backend_(new io::SimulatedBackend(clock_, random_.next(), script_.faults)),
        loop_(0, std::unique_ptr<io::Backend>(backend_), clock_),
        server_(loop_, *backend_, script_, *tls.server, outcome_.violations) {}

  Outcome run();

 private:
  // What a client did to its connection, by which a failed request is excused.
  struct Connected {
    std::unique_ptr<http::ClientConnection> connection;
    int fd = -1;
    bool cut = false;
    bool http2 = false;
  };

  io::Task<void> drain_in_the_middle();
  io::Task<void> run_stray(const StrayScript& script);
  io::Task<void> run_client(const ClientScript& script);
  io::Task<void> leave_later(const ClientScript& script, Connected& state, bool& left,
                             io::StopToken stop);
  io::Task<void> cut_later(const ClientScript& script, Connected& state, io::StopToken stop);
  io::Task<bool> connect(const ClientScript& script, Connected& state, const bool& left);
  io::Task<void> run_bursts(const ClientScript& script, Connected& state, const bool& left);
  io::Task<void> ask(Connected& state, Request& request, const bool& left);
  io::Task<io::Result<void>> read_answer(http::ClientResponse& response, Request& request);
  void judge(Request& request, const Connected& state, bool left,
             const io::Result<http::ClientResponse>& answer);
  void violation(std::string text) { outcome_.violations.push_back(std::move(text)); }
  void turn_until(bool (*done)(Simulation&), io::Duration patience);
  [[noreturn]] void hang(const char* what);
  void check_nothing_left(std::int64_t frames_before);

  io::SeededRandom random_;
  const TlsContexts& tls_;
  Outcome outcome_;
  Script script_;
  io::ManualClock clock_;
  io::SimulatedBackend* backend_;
  io::EventLoop loop_;
  SimServer server_;
  io::TaskScope clients_;
  io::TaskScope director_;
};

Outcome Simulation::run() {
  const std::int64_t frames_before = io::frames_live();
  const io::Instant began = clock_.now();
  const auto started = loop_.start();
  (void)started;
  server_.start();
  for (const ClientScript& client : script_.clients) clients_.spawn(run_client(client));
  for (const StrayScript& stray : script_.strays) clients_.spawn(run_stray(stray));
  if (script_.drain_after) director_.spawn(drain_in_the_middle());
  turn_until([](Simulation& self) { return self.clients_.running() == 0; }, kVirtualTimeMax);
  director_.request_stop();
  server_.drain();
  turn_until(
      [](Simulation& self) {
        return self.server_.idle() && self.director_.running() == 0 &&
               self.backend_->ops_in_flight() == 0;
      },
      kGoodbyePatience);
  check_nothing_left(frames_before);
  outcome_.trace = backend_->trace();
  outcome_.requests = script_.requests.size();
  outcome_.turns = loop_.stats().turns;
  outcome_.recvs_parked = backend_->stats().recvs_parked_total;
  outcome_.submits_deferred = backend_->stats().submits_deferred;
  outcome_.virtual_time = clock_.now() - began;
  return std::move(outcome_);
}

void Simulation::turn_until(bool (*done)(Simulation&), io::Duration patience) {
  const io::Instant give_up = clock_.now() + patience;
  for (std::uint64_t turns = 0; !done(*this); ++turns) {
    if (clock_.now() > give_up) hang("out of virtual time");
    if (turns > kTurnsMax) hang("too many turns");
    loop_.turn(clock_.now() + 10s);
  }
}

void Simulation::hang(const char* what) {
  std::fprintf(stderr, "simulation: %s: %zu connections, %lld clients, %zu operations in flight\n",
               what, server_.connections(), static_cast<long long>(clients_.running()),
               backend_->ops_in_flight());
  for (const Request& request : script_.requests) {
    if (!request.client_ended || (request.handled > 0 && !request.released)) {
      std::fprintf(stderr, "  %s\n", describe(request).c_str());
    }
  }
  for (const std::string& text : outcome_.violations) std::fprintf(stderr, "  %s\n", text.c_str());
  std::abort();
}

void Simulation::check_nothing_left(std::int64_t frames_before) {
  const auto expect_zero = [this](const char* what, std::int64_t count) {
    if (count != 0) violation(std::to_string(count) + " " + what + " left");
  };
  expect_zero("buffers lent", static_cast<std::int64_t>(backend_->buffers_lent()));
  expect_zero("descriptors", static_cast<std::int64_t>(backend_->descriptors()));
  expect_zero("recvs parked", backend_->stats().recvs_parked);
  expect_zero("output buffers lent", io::output_buffers_lent());
  expect_zero("handshakes in flight", static_cast<std::int64_t>(io::handshakes_in_flight()));
  expect_zero("connections in the loop's load", loop_.load().load());
  expect_zero("frames", io::frames_live() - frames_before);
  for (const Request& request : script_.requests) {
    if (request.handled > 0 && !request.released) violation("never released: " + describe(request));
    if (request.kind == RequestKind::hold && request.handled > 0 && !request.saw_stop) {
      violation("its client left unnoticed: " + describe(request));
    }
  }
}

io::Task<void> Simulation::drain_in_the_middle() {
  const auto slept = co_await io::sleep_until(
      io::Deadline::after(loop_.now(), *script_.drain_after), director_.token());
  if (slept) server_.drain();
}

io::Task<void> Simulation::run_stray(const StrayScript& script) {
  const auto slept = co_await io::sleep_until(io::Deadline::after(loop_.now(), script.start), {});
  (void)slept;
  script.request->client_ended = true;
  if (server_.draining()) co_return;
  StrayClient client(loop_, backend_->connect_to(server_.listener(script.tls_port)), script);
  const auto ended =
      co_await client.ended.wait({}, io::Deadline::after(loop_.now(), script.leaves_after));
  (void)ended;
  client.leave();
  while (!client.closed()) {
    const auto gone = co_await client.gone.wait();
    (void)gone;
  }
}

// --- HTTP clients

io::Task<void> Simulation::run_client(const ClientScript& script) {
  const auto slept = co_await io::sleep_until(io::Deadline::after(loop_.now(), script.start), {});
  (void)slept;
  Connected state;
  bool left = false;
  io::TaskScope disturbers;
  if (script.leaves_after) {
    disturbers.spawn(leave_later(script, state, left, disturbers.token()));
  }
  if (script.cut_after) disturbers.spawn(cut_later(script, state, disturbers.token()));
  co_await run_bursts(script, state, left);
  disturbers.request_stop();
  co_await disturbers.join();
  if (state.connection != nullptr && script.closes_orderly) co_await state.connection->close();
  state.connection.reset();
}

io::Task<void> Simulation::leave_later(const ClientScript& script, Connected& state, bool& left,
                                       io::StopToken stop) {
  const auto slept =
      co_await io::sleep_until(io::Deadline::after(loop_.now(), *script.leaves_after), stop);
  if (!slept) co_return;
  left = true;
  state.connection.reset();
}

io::Task<void> Simulation::cut_later(const ClientScript& script, Connected& state,
                                     io::StopToken stop) {
  const auto slept =
      co_await io::sleep_until(io::Deadline::after(loop_.now(), *script.cut_after), stop);
  if (!slept || state.fd < 0) co_return;
  state.cut = true;
  backend_->cut(state.fd);
}

io::Task<bool> Simulation::connect(const ClientScript& script, Connected& state, const bool& left) {
  if (state.connection != nullptr && state.connection->usable()) co_return true;
  if (state.connection != nullptr) {
    const auto ended = std::move(state.connection);
    co_await ended->close();
  }
  if (left || server_.draining()) co_return false;
  http::ClientOptions options;
  options.http2_without_tls = script.http2;
  options.http2_window_bytes = script.window_bytes;
  if (script.tls) {
    options.tls = script.http2 ? tls_.http2_client.get() : tls_.http1_client.get();
    options.server_name = "localhost";
  }
  state.cut = false;
  state.http2 = script.http2;
  state.fd = backend_->connect_to(server_.listener(script.tls));
  auto connected = co_await http::connect_client_fd(
      loop_, state.fd, std::move(options), io::Deadline::after(loop_.now(), kRequestPatience));
  if (!connected) {
    const bool excused = state.cut || server_.draining();
    if (!excused) violation("not connected: " + io::to_string(connected.error()));
    co_return false;
  }
  if (left) co_return false;
  state.connection = std::move(*connected);
  co_return true;
}

io::Task<void> Simulation::run_bursts(const ClientScript& script, Connected& state,
                                      const bool& left) {
  for (const std::vector<Request*>& burst : script.bursts) {
    if (script.http2) {
      const bool connected = co_await connect(script, state, left);
      io::TaskScope at_once;
      for (Request* request : burst) {
        if (connected) at_once.spawn(ask(state, *request, left));
        if (!connected) request->client_ended = true;
      }
      co_await at_once.join();
    } else {
      for (Request* request : burst) {
        const bool connected = co_await connect(script, state, left);
        if (connected) co_await ask(state, *request, left);
        request->client_ended = true;
      }
    }
    const auto slept =
        co_await io::sleep_until(io::Deadline::after(loop_.now(), script.between), {});
    (void)slept;
  }
}

io::Task<void> Simulation::ask(Connected& state, Request& request, const bool& left) {
  http::ClientRequest what;
  what.path = "/" + std::to_string(request.number);
  if (request.upload_bytes > 0) what.method = "POST";
  what.body = pattern(request.number, 0, request.upload_bytes);
  what.chunked = request.chunked;
  if (request.expect) what.headers.emplace_back("expect", "100-continue");
  what.collect_bytes_max = request.style == ReadingStyle::collect ? 2 * kPatternBytesMax : 0;
  const io::Duration patience =
      request.kind == RequestKind::hold ? request.patience : kRequestPatience;
  io::Result<http::ClientResponse> answer = io::fail(io::Errc::closed, "left");
  if (!left && state.connection != nullptr) {
    answer = co_await state.connection->request(std::move(what),
                                                io::Deadline::after(loop_.now(), patience));
  }
  if (answer && request.style != ReadingStyle::collect) {
    const auto read = co_await read_answer(*answer, request);
    if (!read) answer = std::unexpected(read.error());
  }
  request.client_ended = true;
  judge(request, state, left, answer);
}

io::Task<io::Result<void>> Simulation::read_answer(http::ClientResponse& response,
                                                   Request& request) {
  while (true) {
    const auto bytes =
        co_await response.read_body(io::Deadline::after(loop_.now(), kRequestPatience));
    if (!bytes) co_return std::unexpected(bytes.error());
    if (bytes->empty()) co_return io::Result<void>{};
    response.body.append(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    if (request.style == ReadingStyle::give_up) co_return io::fail(io::Errc::cancelled, "gave up");
    if (request.style == ReadingStyle::slow) {
      const auto slept =
          co_await io::sleep_until(io::Deadline::after(loop_.now(), request.patience), {});
      (void)slept;
    }
  }
}

void Simulation::judge(Request& request, const Connected& state, bool left,
                       const io::Result<http::ClientResponse>& answer) {
  if (!answer) {
    const io::Errc code = answer.error().code;
    if (code == io::Errc::deadline_exceeded && request.kind != RequestKind::hold) {
      violation("hangs: " + describe(request));
    }
    // A drain refuses what it has not begun; what it has begun it finishes.
    const bool too_late = server_.draining() && request.handled == 0;
    // After the last answer of a drain the server lingers while its kernel says that bytes are
    // acknowledged; ours does not say.
    const bool tail = server_.draining() && state.http2 && request.released && !request.saw_stop;
    // One that asks whether to send its body, and sends it without a look, may be cut.
    const bool deaf = request.kind == RequestKind::early && request.expect && !state.http2;
    const bool excused = left || state.cut || too_late || tail || deaf || !request.can_complete() ||
                         code == io::Errc::cancelled;
    if (!excused) {
      violation("failed without a reason, " + io::to_string(answer.error()) + ": " +
                describe(request));
    }
    return;
  }
  ++outcome_.completed;
  if (!request.can_complete()) violation("looks complete: " + describe(request));
  const int status = request.kind == RequestKind::early ? 403 : 200;
  if (answer->status != status) {
    violation("status " + std::to_string(answer->status) + ": " + describe(request));
  }
  const auto expected = pattern(request.number, 0, request.answer_bytes);
  if (!std::ranges::equal(answer->body, expected, {},
                          [](char byte) { return static_cast<std::uint8_t>(byte); })) {
    violation("wrong answer of " + std::to_string(answer->body.size()) +
              " bytes: " + describe(request));
  }
}

}  // namespace

Outcome simulate(std::uint64_t seed, const TlsContexts& tls) {
  Simulation simulation(seed, tls);
  return simulation.run();
}

}  // namespace weir::sim
