#include "tests/sim/pipeline_simulation.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "git/process_slots.h"
#include "git/push_journal.h"
#include "git/ref_store.h"
#include "git/sync_coalescer.h"
#include "git/worker_pool.h"
#include "io/buffer_recycler.h"
#include "io/byte_channel.h"
#include "io/frame_pool.h"
#include "io/log.h"
#include "io/unique_fd.h"
#include "server/pipeline.h"
#include "tests/sim/pipeline_judge.h"
#include "tests/sim/script.h"
#include "tests/sim/sim_plans.h"
#include "tests/sim/sim_tokens.h"
#include "tests/sim/simulated_blocking_pool.h"

namespace weir::sim {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kTurnsMax = 1'000'000;
constexpr io::Duration kVirtualTimeMax = 6h;
// The longest that what has begun may go on without its client: a push's time.
constexpr io::Duration kGoodbyePatience = 30min;
constexpr std::int64_t kClockBehindNs = 1'700'000'000'000'000'000;  // 2023
constexpr std::int64_t kClockAheadNs = 4'100'000'000'000'000'000;   // 2099

std::size_t open_descriptors() {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

server::Config make_config(const PipelineScript& script, const SimRepositories& repositories) {
  server::Config config;
  config.root = repositories.root();
  config.access.rules = {{.match = "open", .public_read = true}};
  config.limits.requests_in_flight_max = script.requests_max;
  return config;
}

class PipelineSimulation final : public Asker, public http::ExchangeHandler {
 public:
  PipelineSimulation(std::uint64_t seed, const TlsContexts& tls, SimRepositories& repositories)
      : random_(seed),
        repositories_(repositories),
        tls_(tls),
        script_(draw_pipeline_script(random_)),
        clock_(script_.clock_behind ? kClockBehindNs : kClockAheadNs),
        backend_(new io::SimulatedBackend(clock_, random_.next(), script_.faults)),
        loop_(0, std::unique_ptr<io::Backend>(backend_), clock_) {}

  PipelineOutcome run();

 private:
  // Everything of a server, in order of construction.
  struct Server {
    Server(PipelineSimulation& run, io::SeededRandom random);
    git::GitEnvironment environment();

    PipelineSimulation& run;
    io::SimulatedBlockingPool pool;
    server::Authenticator authenticator;
    server::Locator locator;
    server::AdmissionDoor admission;
    server::RequestMetrics metrics;
    git::RefStore refs;
    git::ProcessSlots fetch_slots;
    git::ProcessSlots push_slots;
    io::ByteBudget requests_held;
    io::ByteBudget answers_held;
    SimPlans plans;
    git::SyncCoalescer sync;
    git::PushJournal journal;
    GitChildren children;
    io::SimulatedSpawner spawner;
    git::WorkerPool workers;
    server::Pipeline pipeline;
    SimFront front;
  };

  void on_exchange(http::Exchange& exchange) override;
  http::HeadLimits head_limits(std::string_view method, std::string_view target) override {
    return server_->pipeline.head_limits(method, target);
  }
  void on_refused(const io::StreamInfo& peer, int status, std::string_view reason) override {
    server_->pipeline.on_refused(peer, status, reason);
  }
  std::shared_ptr<const server::Policy> make_policy() const;
  int do_sync();

  io::Task<void> ask(Connected& at, std::size_t number) override;
  void not_asked(std::size_t number) override { script_.asks.at(number).client_ended = true; }
  http::ClientRequest request_of(Ask& ask, std::string& wire) const;

  io::Task<void> beat(io::StopToken stop);
  io::Task<void> after(io::Duration delay, void (*act)(PipelineSimulation& self));
  io::Task<void> close_down();
  io::Task<void> check_snapshot(std::string tenant, std::string path);

  void violation(std::string text) { outcome_.violations.push_back(std::move(text)); }
  void turn_until(bool (*done)(PipelineSimulation&), io::Duration patience);
  [[noreturn]] void hang(const char* what);
  void check_nothing_left();
  void check_log(std::string_view log);

  io::SeededRandom random_;
  SimRepositories& repositories_;
  const TlsContexts& tls_;
  PipelineOutcome outcome_;
  PipelineScript script_;
  io::ManualClock clock_;
  io::SimulatedBackend* backend_;
  io::EventLoop loop_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<SimClients> clients_;
  SimRepositories::Refs acknowledged_;
  std::uint64_t synced_at_ = 0;
  bool uses_moving_ = false;
  bool closed_down_ = false;
  io::TaskScope director_;
};

PipelineSimulation::Server::Server(PipelineSimulation& its_run, io::SeededRandom random)
    : run(its_run),
      pool(run.loop_, io::SeededRandom(random.next()), run.script_.pool_delay_max,
           run.script_.pool_full_odds),
      authenticator(
          std::make_shared<SimTokens>(io::SeededRandom(random.next()), run.script_.token_delay_max,
                                      run.script_.token_unavailable_odds),
          run.clock_),
      locator(run.repositories_.root(), pool, run.clock_),
      admission(run.script_.requests_max),
      refs({.validity = run.script_.by_generation ? git::Validity::generation : git::Validity::stat,
            .state_directory = "",
            .allow_filter = true},
           pool),
      fetch_slots("fetch", run.script_.slots, run.script_.slots_waiting_max),
      push_slots("push", run.script_.slots, run.script_.slots_waiting_max),
      requests_held("requests", run.script_.held_bytes_max),
      answers_held("answers", run.script_.answers_held_bytes_max),
      plans(io::SeededRandom(run.script_.plans_seed)),
      sync(pool, [this](int) { return run.do_sync(); }),
      journal(run.repositories_.state() + "/pushes"),
      children(run.loop_, *run.backend_, io::SeededRandom(random.next()), run.script_,
               run.repositories_, run.outcome_.violations),
      spawner(run.loop_, *run.backend_, io::SeededRandom(random.next()), children),
      workers(run.loop_, spawner, {.weir_path = "/weir", .git_path = "/git"}),
      pipeline(run.loop_, {authenticator, locator, admission, metrics, run.clock_}, environment(),
               run.make_policy()),
      front(run.loop_, *run.backend_, *run.tls_.server, run) {}

git::GitEnvironment PipelineSimulation::Server::environment() {
  git::GitEnvironment environment{};
  environment.git_path = "/git";
  environment.git_config_path = "/state/gitconfig";
  environment.limits.slot_wait_max = run.script_.slot_wait_max;
  environment.launcher = &spawner;
  environment.workers = &workers;
  environment.refs = &refs;
  environment.fetch_slots = &fetch_slots;
  environment.push_slots = &push_slots;
  environment.requests_held = &requests_held;
  environment.answers_held = &answers_held;
  if (run.script_.plans) environment.planners = &plans;
  environment.sync = &sync;
  environment.journal = &journal;
  environment.blocking = &pool;
  return environment;
}

std::shared_ptr<const server::Policy> PipelineSimulation::make_policy() const {
  server::Config config = make_config(script_, repositories_);
  server::Authorizer authorizer(config.access);
  return std::make_shared<const server::Policy>(
      server::Policy{std::move(config), std::move(authorizer), tls_.server, {}, {}});
}

int PipelineSimulation::do_sync() {
  if (script_.sync_fails) {
    errno = EIO;
    return -1;
  }
  synced_at_ = server_->children.next_event();
  return 0;
}

PipelineOutcome PipelineSimulation::run() {
  const std::int64_t frames_before = io::frames_live();
  const std::size_t descriptors_before = open_descriptors();
  const io::Instant began = clock_.now();
  const io::UniqueFd log(::memfd_create("weir-sim-log", MFD_CLOEXEC));
  io::log_start(log.get());
  uses_moving_ = std::ranges::any_of(script_.asks, &Ask::moving);
  if (uses_moving_) repositories_.reset_moving();
  const auto started = loop_.start();
  (void)started;
  server_ = std::make_unique<Server>(*this, io::SeededRandom(random_.next()));
  clients_ = std::make_unique<SimClients>(loop_, *backend_, server_->front, tls_, *this,
                                          outcome_.violations);
  server_->front.start();
  for (const ClientScript& client : script_.clients) clients_->start(client);
  director_.spawn(beat(director_.token()));
  if (script_.drain_after) {
    director_.spawn(
        after(*script_.drain_after, [](PipelineSimulation& self) { self.server_->front.drain(); }));
  }
  if (script_.policy_after) {
    director_.spawn(after(*script_.policy_after, [](PipelineSimulation& self) {
      self.server_->pipeline.set_policy(self.make_policy());
    }));
  }
  if (script_.launcher_dies_after) {
    director_.spawn(after(*script_.launcher_dies_after, [](PipelineSimulation& self) {
      self.server_->spawner.die(self.script_.launcher_absent);
    }));
  }
  turn_until([](PipelineSimulation& self) { return self.clients_->running() == 0; },
             kVirtualTimeMax);
  server_->front.drain();
  turn_until(
      [](PipelineSimulation& self) {
        return self.server_->front.idle() && self.server_->pipeline.running() == 0;
      },
      kGoodbyePatience);
  director_.spawn(close_down());
  turn_until([](PipelineSimulation& self) { return self.closed_down_; }, kGoodbyePatience);
  director_.request_stop();
  turn_until(
      [](PipelineSimulation& self) {
        return self.director_.running() == 0 && self.server_->spawner.running() == 0 &&
               self.server_->pool.idle() && self.backend_->ops_in_flight() == 0;
      },
      kGoodbyePatience);
  check_nothing_left();
  clients_.reset();
  server_.reset();
  if (const auto frames = io::frames_live() - frames_before; frames != 0) {
    violation(std::to_string(frames) + " frames left");
  }
  io::log_stop();
  std::string text(static_cast<std::size_t>(::lseek(log.get(), 0, SEEK_END)), '\0');
  if (::pread(log.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    violation("the log cannot be read");
  }
  check_log(text);
  if (open_descriptors() != descriptors_before + 1) violation("descriptors of the process left");
  outcome_.log = std::move(text);
  outcome_.trace = backend_->trace();
  outcome_.asks = script_.asks.size();
  for (const Ask& each : script_.asks) {
    outcome_.children += static_cast<std::size_t>(each.children);
  }
  outcome_.turns = loop_.stats().turns;
  outcome_.virtual_time = clock_.now() - began;
  return std::move(outcome_);
}

void PipelineSimulation::on_exchange(http::Exchange& exchange) {
  ++outcome_.handled;
  Ask* const asked = find_traced(script_, exchange.head().field("traceparent").value_or(""));
  if (asked == nullptr) {
    violation("a request that nobody sent");
  } else {
    ++asked->handled;
  }
  server_->pipeline.on_exchange(exchange);
}

// --- what clients ask

http::ClientRequest PipelineSimulation::request_of(Ask& ask, std::string& wire) const {
  http::ClientRequest what;
  ask.body = body_of(ask, repositories_);
  wire = ask.gzip ? gzip_stored(ask.body) : ask.body;
  const bool push = ask.kind == AskKind::push || ask.kind == AskKind::advertise_push;
  const std::string service = push ? "git-receive-pack" : "git-upload-pack";
  what.path = ask.moving ? "/acme/moving.git" : "/open/static.git";
  if (ask.kind == AskKind::advertise || ask.kind == AskKind::advertise_push) {
    what.path += "/info/refs?service=" + service;
  } else {
    what.method = "POST";
    what.path += "/" + service;
    what.headers.emplace_back("content-type", "application/x-" + service + "-request");
  }
  if (ask.refusal != nullptr) {
    what.method = ask.refusal->method;
    what.path = ask.refusal->path;
    if (const std::string_view field = ask.refusal->field ? ask.refusal->field : "";
        !field.empty()) {
      const std::size_t colon = field.find(':');
      std::erase_if(what.headers,
                    [&](const auto& each) { return each.first == field.substr(0, colon); });
      what.headers.emplace_back(field.substr(0, colon), field.substr(colon + 2));
    }
  }
  if (ask.version > 0) {
    what.headers.emplace_back("git-protocol", "version=" + std::to_string(ask.version));
  }
  if (ask.who != Who::nobody) {
    what.headers.emplace_back("authorization", "Bearer " + SimTokens::token(ask.who));
  }
  what.headers.emplace_back(
      "user-agent",
      "git/2.39" + (ask.token_in_agent ? " " + SimTokens::token(Who::writer) : std::string()));
  what.headers.emplace_back("traceparent", "00-" + trace_id(ask.number) + "-00000000000000f1-01");
  if (ask.gzip && !ask.body.empty()) what.headers.emplace_back("content-encoding", "gzip");
  if (ask.expect && !ask.body.empty()) what.headers.emplace_back("expect", "100-continue");
  if (what.method == "POST") what.body = io::as_bytes(wire);
  what.chunked = ask.chunked;
  what.collect_bytes_max = 2 * kPatternBytesMax;
  return what;
}

io::Task<void> PipelineSimulation::ask(Connected& at, std::size_t number) {
  Ask& asked = script_.asks.at(number);
  std::string wire;
  http::ClientRequest what = request_of(asked, wire);
  Facts facts;
  facts.acknowledged = acknowledged_;
  const io::Result<http::ClientResponse> answer =
      co_await send_and_read(at, std::move(what), asked.style, asked.pause, kRequestPatience);
  asked.client_ended = true;
  if (!answer) {
    if (answer.error().code == io::Errc::deadline_exceeded) violation("hangs: " + describe(asked));
    if (!may_fail(script_, asked, at, server_->front.draining(), answer.error())) {
      violation("failed without a reason, " + io::to_string(answer.error()) + ": " +
                describe(asked));
    }
    co_return;
  }
  ++outcome_.completed;
  for (const Ask& each : script_.asks) {
    if (each.moved_at != 0) facts.moved.emplace(each.ref(), repositories_.pushed());
  }
  facts.synced_at = synced_at_;
  const Judgement judged = judge_answer(script_, asked, repositories_, facts, *answer);
  if (!judged.violation.empty()) violation(judged.violation + ": " + describe(asked));
  if (judged.served) ++outcome_.served;
  if (judged.planned) ++outcome_.planned;
  if (judged.acknowledged) {
    ++outcome_.acknowledged;
    acknowledged_.emplace(asked.ref(), repositories_.pushed());
  }
}

// --- what happens besides

io::Task<void> PipelineSimulation::beat(io::StopToken stop) {
  while (co_await io::sleep_until(io::Deadline::after(loop_.now(), 1s), stop)) {
    server_->pipeline.housekeeping();
  }
}

io::Task<void> PipelineSimulation::after(io::Duration delay,
                                         void (*act)(PipelineSimulation& self)) {
  const auto slept =
      co_await io::sleep_until(io::Deadline::after(loop_.now(), delay), director_.token());
  if (slept) act(*this);
}

// Nobody asks any more; session records let go of what they have after their grace.
io::Task<void> PipelineSimulation::close_down() {
  (void)co_await io::sleep_until(io::Deadline::after(loop_.now(), server::kSessionGrace + 2s), {});
  co_await check_snapshot("open", "static.git");
  co_await check_snapshot("acme", "moving.git");
  co_await server_->workers.close();
  closed_down_ = true;
}

io::Task<void> PipelineSimulation::check_snapshot(std::string tenant, std::string path) {
  const auto location = co_await server_->locator.locate(tenant, path, loop_.now());
  if (!location) co_return;
  std::string problem;
  auto snapshot =
      co_await server_->refs.snapshot(location->repository, loop_.now(), server_->workers, {},
                                      io::Deadline::after(loop_.now(), 30s), problem);
  // The store has it, and we.
  if (snapshot && snapshot->use_count() > 2) violation("a snapshot is kept of " + path);
}

void PipelineSimulation::turn_until(bool (*done)(PipelineSimulation&), io::Duration patience) {
  const io::Instant give_up = clock_.now() + patience;
  for (std::uint64_t turns = 0; !done(*this); ++turns) {
    if (clock_.now() > give_up) hang("out of virtual time");
    if (turns > kTurnsMax) hang("too many turns");
    loop_.turn(clock_.now() + 10s);
  }
}

void PipelineSimulation::hang(const char* what) {
  std::fprintf(stderr,
               "simulation: %s: %zu connections, %lld clients, %lld requests, %lld children, "
               "%zu operations in flight\n",
               what, server_->front.connections(), static_cast<long long>(clients_->running()),
               static_cast<long long>(server_->pipeline.running()),
               static_cast<long long>(server_->spawner.running()), backend_->ops_in_flight());
  for (const Ask& each : script_.asks) {
    if (!each.client_ended || each.handled > 0) {
      std::fprintf(stderr, "  %s\n", describe(each).c_str());
    }
  }
  for (const std::string& text : outcome_.violations) std::fprintf(stderr, "  %s\n", text.c_str());
  std::abort();
}

// --- what must hold at the end

void PipelineSimulation::check_nothing_left() {
  const auto expect_zero = [this](const char* what, std::int64_t count) {
    if (count != 0) violation(std::to_string(count) + " " + what + " left");
  };
  expect_zero("buffers lent", static_cast<std::int64_t>(backend_->buffers_lent()));
  expect_zero("descriptors", static_cast<std::int64_t>(backend_->descriptors()));
  expect_zero("recvs parked", backend_->stats().recvs_parked);
  expect_zero("output buffers lent", io::output_buffers_lent());
  expect_zero("handshakes in flight", static_cast<std::int64_t>(io::handshakes_in_flight()));
  expect_zero("connections in the loop's load", loop_.load().load());
  expect_zero("live requests", static_cast<std::int64_t>(server_->pipeline.live().count()));
  expect_zero("fetch slots", server_->fetch_slots.in_use());
  expect_zero("push slots", server_->push_slots.in_use());
  expect_zero("bytes of requests held", static_cast<std::int64_t>(server_->requests_held.held()));
  expect_zero("bytes of answers held", static_cast<std::int64_t>(server_->answers_held.held()));
  std::vector<server::AdmissionDoor::Ticket> tickets;
  while (std::optional<server::AdmissionDoor::Ticket> ticket = server_->admission.admit()) {
    tickets.push_back(std::move(*ticket));
  }
  expect_zero("requests at the door",
              static_cast<std::int64_t>(script_.requests_max - tickets.size()));
  server_->journal.sweep();
  for (const auto& entry : fs::directory_iterator(repositories_.state() + "/pushes")) {
    violation("a push record is left: " + entry.path().filename().string());
    fs::remove(entry.path());
  }
  // With a clock ahead of the files' they look older than their pushes: somebody else's.
  if (script_.clock_behind && uses_moving_) {
    expect_zero("locks in the repository", static_cast<std::int64_t>(repositories_.locks()));
  }
}

void PipelineSimulation::check_log(std::string_view log) {
  for (const std::string& secret : SimTokens::secrets()) {
    if (log.find(secret) != log.npos) violation("a credential is in the log");
  }
  std::vector<int> records(script_.asks.size());
  std::size_t all = 0;
  while (!log.empty()) {
    const std::string_view line = log.substr(0, log.find('\n'));
    log.remove_prefix(std::min(log.size(), line.size() + 1));
    if (line.find(R"("record":"request")") == line.npos) continue;
    ++all;
    constexpr std::string_view kTrace = R"("trace":")";
    const std::size_t at = line.find(kTrace);
    if (at == line.npos) continue;
    const std::string traced = "-" + std::string(line.substr(at + kTrace.size(), 32));
    if (const Ask* logged = find_traced(script_, traced)) ++records[logged->number];
  }
  if (all != outcome_.handled) {
    violation(std::to_string(all) + " records of " + std::to_string(outcome_.handled) +
              " requests");
  }
  for (const Ask& each : script_.asks) {
    if (records[each.number] != each.handled) {
      violation(std::to_string(records[each.number]) + " records: " + describe(each));
    }
  }
}

}  // namespace

PipelineOutcome simulate_pipeline(std::uint64_t seed, const TlsContexts& tls,
                                  SimRepositories& repositories) {
  PipelineSimulation simulation(seed, tls, repositories);
  return simulation.run();
}

}  // namespace weir::sim
