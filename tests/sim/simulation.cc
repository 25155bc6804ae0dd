#include "tests/sim/simulation.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "io/buffer_recycler.h"
#include "io/frame_pool.h"
#include "io/task_scope.h"
#include "tests/sim/sim_server.h"
#include "tests/sim/stray_client.h"

namespace weir::sim {
namespace {

constexpr std::uint64_t kTurnsMax = 1'000'000;
constexpr io::Duration kVirtualTimeMax = 2h;
constexpr io::Duration kGoodbyePatience = 150s;  // the server's longest timeout, twice

class Simulation final : Asker {
 public:
  Simulation(std::uint64_t seed, const TlsContexts& tls)
      : random_(seed),
        script_(draw_script(random_)),
        backend_(new io::SimulatedBackend(clock_, random_.next(), script_.faults)),
        loop_(0, std::unique_ptr<io::Backend>(backend_), clock_),
        server_(loop_, *backend_, script_, *tls.server, outcome_.violations),
        clients_(loop_, *backend_, front_, tls, *this, outcome_.violations) {}

  Outcome run();

 private:
  io::Task<void> drain_in_the_middle();
  io::Task<void> run_stray(const StrayScript& script);
  io::Task<void> ask(Connected& at, std::size_t number) override;
  void not_asked(std::size_t number) override { script_.requests.at(number).client_ended = true; }
  void judge(Request& request, const Connected& at, const io::Result<http::ClientResponse>& answer);
  void violation(std::string text) { outcome_.violations.push_back(std::move(text)); }
  void turn_until(bool (*done)(Simulation&), io::Duration patience);
  [[noreturn]] void hang(const char* what);
  void check_nothing_left(std::int64_t frames_before);

  io::SeededRandom random_;
  Outcome outcome_;
  Script script_;
  io::ManualClock clock_;
  io::SimulatedBackend* backend_;
  io::EventLoop loop_;
  SimServer server_;
  SimFront& front_ = server_.front();
  SimClients clients_;
  io::TaskScope strays_;
  io::TaskScope director_;
};

Outcome Simulation::run() {
  const std::int64_t frames_before = io::frames_live();
  const io::Instant began = clock_.now();
  const auto started = loop_.start();
  (void)started;
  front_.start();
  for (const ClientScript& client : script_.clients) clients_.start(client);
  for (const StrayScript& stray : script_.strays) strays_.spawn(run_stray(stray));
  if (script_.drain_after) director_.spawn(drain_in_the_middle());
  turn_until([](Simulation& self) { return self.clients_.running() + self.strays_.running() == 0; },
             kVirtualTimeMax);
  director_.request_stop();
  front_.drain();
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
               what, front_.connections(),
               static_cast<long long>(clients_.running() + strays_.running()),
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
  if (slept) front_.drain();
}

io::Task<void> Simulation::run_stray(const StrayScript& script) {
  const auto slept = co_await io::sleep_until(io::Deadline::after(loop_.now(), script.start), {});
  (void)slept;
  script.request->client_ended = true;
  if (front_.draining()) co_return;
  StrayClient client(loop_, backend_->connect_to(front_.listener(script.tls_port)), script);
  const auto ended =
      co_await client.ended.wait({}, io::Deadline::after(loop_.now(), script.leaves_after));
  (void)ended;
  client.leave();
  while (!client.closed()) {
    const auto gone = co_await client.gone.wait();
    (void)gone;
  }
}

io::Task<void> Simulation::ask(Connected& at, std::size_t number) {
  Request& request = script_.requests.at(number);
  http::ClientRequest what;
  what.path = "/" + std::to_string(request.number);
  if (request.upload_bytes > 0) what.method = "POST";
  what.body = pattern(request.number, 0, request.upload_bytes);
  what.chunked = request.chunked;
  if (request.expect) what.headers.emplace_back("expect", "100-continue");
  what.collect_bytes_max = 2 * kPatternBytesMax;
  const io::Duration patience =
      request.kind == RequestKind::hold ? request.patience : kRequestPatience;
  const io::Result<http::ClientResponse> answer =
      co_await send_and_read(at, std::move(what), request.style, request.patience, patience);
  request.client_ended = true;
  judge(request, at, answer);
}

void Simulation::judge(Request& request, const Connected& at,
                       const io::Result<http::ClientResponse>& answer) {
  if (!answer) {
    const io::Errc code = answer.error().code;
    if (code == io::Errc::deadline_exceeded && request.kind != RequestKind::hold) {
      violation("hangs: " + describe(request));
    }
    // A drain refuses what it has not begun; what it has begun it finishes.
    const bool too_late = front_.draining() && request.handled == 0;
    // After the last answer of a drain the server lingers while its kernel says that bytes are
    // acknowledged; ours does not say.
    const bool tail = front_.draining() && at.http2 && request.released && !request.saw_stop;
    // One that asks whether to send its body, and sends it without a look, may be cut.
    const bool deaf = request.kind == RequestKind::early && request.expect && !at.http2;
    const bool excused = at.left || at.cut || too_late || tail || deaf || !request.can_complete() ||
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
