#include "server/serving_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "git/git_command.h"
#include "git/native_fetch.h"
#include "git/open_repositories.h"
#include "git/process_slots.h"
#include "git/push_journal.h"
#include "git/recipe_answer.h"
#include "git/ref_store.h"
#include "git/sync_coalescer.h"
#include "io/backend_choice.h"
#include "io/blocking_pool.h"
#include "io/byte_budget.h"
#include "io/check.h"
#include "io/digest.h"
#include "io/durable_file.h"
#include "io/log.h"
#include "io/metrics.h"
#include "io/process_identity.h"
#include "io/tls_tickets.h"
#include "server/admin_server.h"
#include "server/confinement.h"
#include "server/connection_metrics.h"
#include "server/control_channel.h"
#include "server/drain.h"
#include "server/layout_report.h"
#include "server/memory_budgets.h"
#include "server/serving_loop.h"
#include "server/token_file.h"

namespace weir::server {
namespace {

constexpr int kBlockingThreads = 2;  // reading refs, syncfs: they wait for disks, not for cores
constexpr int kControlPollMs = 100;
constexpr std::size_t kSeedBytes = 32;
constexpr std::size_t kCutRowsMax = 20;  // named in the log
constexpr io::Duration kSweepEvery = std::chrono::seconds(10);

// The secret of signed pushes' nonces; survives restarts so that a nonce stays good. "" if it can
// neither be read nor written: signed pushes are then not offered.
std::string read_or_make_seed(const std::string& path) {
  std::ifstream file(path);
  std::string seed;
  if (std::getline(file, seed) && seed.size() >= kSeedBytes) return seed;
  std::array<std::uint8_t, kSeedBytes> random{};
  io::fill_random(random);
  seed = io::to_hex(random);
  return io::write_durably(path, seed + "\n") ? seed : "";
}

io::Result<std::unique_ptr<io::Backend>> make_backend(const Config& config, unsigned recv_buffers,
                                                      std::string& problem) {
  const std::optional<io::BackendKind> kind = io::parse_backend_kind(config.io);
  WEIR_CHECK(kind);  // configuration and command line accept no other text
  io::Result<std::unique_ptr<io::Backend>> backend = io::create_backend(*kind, recv_buffers);
  if (!backend) problem = io::to_string(backend.error());
  return backend;
}

std::shared_ptr<const Policy> make_policy(const Config& config,
                                          const std::shared_ptr<io::TicketKeys>& tickets,
                                          std::string& problem) {
  io::TlsServerConfig tls;
  tls.certificates = config.certificates;
  tls.ticket_keys = tickets;
  io::Result<std::shared_ptr<io::TlsContext>> context = io::TlsContext::create_server(tls, problem);
  if (!context) return nullptr;
  return std::make_shared<const Policy>(Policy{config, Authorizer(config.access),
                                               std::move(*context),
                                               Networks(config.listen.proxy_protocol_networks),
                                               Networks(config.listen.forwarded_for_networks)});
}

git::PlannerPoolOptions planner_options(const Config& config, std::size_t loops) {
  git::PlannerPoolOptions options;
  options.weir_path = io::own_program();
  options.planners = static_cast<int>(config.git.planners);
  // Alternates lie where children may read, too. They are compared by their real paths.
  options.roots = config.sandbox.read_paths;
  options.roots.push_back(config.root);
  for (std::string& root : options.roots) {
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(root, error);
    if (!error) root = real.string();
  }
  // The rest is for connections.
  rlimit files{};
  WEIR_CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
  options.open_files_max = std::min<std::size_t>(files.rlim_cur / 4 / loops, git::kOpenFilesMax);
  return options;
}

// Everything of one serving process, in order of construction; torn down in the opposite order.
class ServingProcess {
 public:
  ServingProcess(ServingProcessContext context, const Config& config, std::string announce)
      : context_(std::move(context)),
        config_(config),
        announce_(std::move(announce)),
        control_(context_.control_fd) {}

  int run();

 private:
  bool prepare(std::string& problem);
  bool prepare_git(std::string& problem);
  void sweep_journal(std::stop_token stop);
  bool make_loops(std::string& problem);
  bool make_admin(std::string& problem);
  void start();
  bool follow_control();  // false: end at once
  void reload();
  void reopen_log(const std::string& path);
  void tell_certificate_expiry() const;
  void drain();
  bool drain_has_ended();
  bool drained() const { return loops_drained_.load() == static_cast<int>(loops_.size()); }
  void cut_overdue(io::Instant now);
  template <typename Wanted>
  std::vector<std::string> note_cut(std::string_view why, Wanted wanted);

  ServingProcessContext context_;
  Config config_;
  std::string announce_;
  ControlChannel control_;
  io::SystemClock clock_;
  std::shared_ptr<io::TicketKeys> tickets_;
  std::shared_ptr<TokenFile> tokens_;
  std::shared_ptr<const Policy> policy_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<io::BlockingPool> blocking_;
  std::unique_ptr<Locator> locator_;
  std::unique_ptr<AdmissionDoor> admission_;
  std::unique_ptr<RequestMetrics> request_metrics_;
  std::unique_ptr<ConnectionMetrics> connection_metrics_;
  std::unique_ptr<git::RefStore> refs_;
  std::unique_ptr<git::ProcessSlots> fetch_slots_;
  std::unique_ptr<git::ProcessSlots> push_slots_;
  std::unique_ptr<io::ByteBudget> requests_held_;
  std::unique_ptr<io::ByteBudget> answers_held_;
  std::unique_ptr<git::SyncCoalescer> sync_;
  std::unique_ptr<git::FetchPlanMetrics> plan_metrics_;
  std::unique_ptr<git::PushJournal> journal_;
  git::GitEnvironment environment_{};
  git::PlannerDirectory planner_directory_;
  std::unique_ptr<MaintenanceSchedule> maintenance_;
  std::vector<std::unique_ptr<ServingLoop>> loops_;
  std::unique_ptr<AdminServer> admin_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> draining_{false};
  std::atomic<bool> failed_{false};
  std::atomic<int> loops_drained_{0};
  std::optional<Drain> drain_;  // once draining
  bool accepting_ = true;
  bool aborted_ = false;
  std::set<std::string> cut_ids_;
  std::array<io::Counter, static_cast<std::size_t>(RequestClass::count)> drain_cuts_;
  bool supervisor_gone_ = false;
};

bool ServingProcess::prepare(std::string& problem) {
  io::Metrics& metrics = io::Metrics::instance();
  if (const io::Result<void> attached = metrics.attach(context_.metrics_fd); !attached) {
    problem = io::to_string(attached.error());
    return false;
  }
  io::Result<std::shared_ptr<io::TicketKeys>> tickets =
      io::TicketKeys::open_shared(context_.ticket_keys_fd, clock_.unix_ns());
  if (!tickets) {
    problem = io::to_string(tickets.error());
    return false;
  }
  tickets_ = std::move(*tickets);
  std::expected<std::shared_ptr<TokenFile>, std::string> tokens =
      TokenFile::open(config_.access.tokens_path);
  if (!tokens) {
    problem = tokens.error();
    return false;
  }
  tokens_ = std::move(*tokens);
  policy_ = make_policy(config_, tickets_, problem);
  if (policy_ == nullptr) return false;
  tell_certificate_expiry();

  authenticator_ = std::make_unique<Authenticator>(tokens_, clock_);
  blocking_ = std::make_unique<io::BlockingThreads>(kBlockingThreads);
  locator_ = std::make_unique<Locator>(config_.root, *blocking_, clock_);
  admission_ = std::make_unique<AdmissionDoor>(config_.limits.requests_in_flight_max);
  request_metrics_ = std::make_unique<RequestMetrics>();
  connection_metrics_ =
      std::make_unique<ConnectionMetrics>(static_cast<int>(context_.launcher_fds.size()));
  for (std::size_t i = 0; i < drain_cuts_.size(); ++i) {
    drain_cuts_[i] = metrics.counter(
        "weir_drain_cut", fmt::format("class=\"{}\"", to_string(static_cast<RequestClass>(i))),
        "Requests cut because the server had to end before they had.");
  }
  maintenance_ = std::make_unique<MaintenanceSchedule>(config_.maintenance);
  count_maintenance();
  return prepare_git(problem);
}

bool ServingProcess::prepare_git(std::string& problem) {
  git::RefStoreOptions refs;
  refs.validity =
      config_.git.validity == "generation" ? git::Validity::generation : git::Validity::stat;
  refs.state_directory = config_.state;
  refs.allow_filter = config_.git.allow_filter;
  refs_ = std::make_unique<git::RefStore>(refs, *blocking_);
  const auto cores = static_cast<std::uint32_t>(std::max(1U, std::thread::hardware_concurrency()));
  const auto slots = [cores](std::uint32_t configured, std::uint32_t per_core) {
    return static_cast<int>(configured != 0 ? configured : cores * per_core);
  };
  fetch_slots_ = std::make_unique<git::ProcessSlots>("fetch", slots(config_.git.fetch_slots, 4),
                                                     config_.git.fetch_queue_max);
  push_slots_ = std::make_unique<git::ProcessSlots>("push", slots(config_.git.push_slots, 2),
                                                    config_.git.push_queue_max);
  requests_held_ =
      std::make_unique<io::ByteBudget>("requests", config_.limits.requests_held_bytes_max);
  answers_held_ = std::make_unique<io::ByteBudget>("answers", git::kRecipeAnswersBytesMax);
  sync_ = std::make_unique<git::SyncCoalescer>(*blocking_);
  plan_metrics_ = std::make_unique<git::FetchPlanMetrics>();
  journal_ = std::make_unique<git::PushJournal>(config_.state + "/pushes");
  journal_->adopt();
  environment_.push_cert_seed = read_or_make_seed(config_.state + "/push-cert-seed");
  environment_.git_config_path = config_.state + "/gitconfig";
  if (const io::Result<void> written =
          git::write_git_config(environment_.git_config_path, environment_.push_cert_seed);
      !written) {
    problem = environment_.git_config_path + ": " + io::to_string(written.error());
    return false;
  }

  environment_.git_path = config_.git.git_path;
  environment_.limits.fetch_request_bytes_max = config_.git.fetch_request_bytes_max;
  environment_.limits.push_bytes_max = config_.git.push_bytes_max;
  environment_.limits.push_time_max = std::chrono::seconds(config_.git.push_time_max_s);
  environment_.limits.slot_wait_max = std::chrono::seconds(config_.limits.queue_wait_max_s);
  environment_.limits.keepalive = std::chrono::seconds(config_.git.keepalive_s);
  environment_.refs = refs_.get();
  environment_.fetch_slots = fetch_slots_.get();
  environment_.push_slots = push_slots_.get();
  environment_.requests_held = requests_held_.get();
  environment_.answers_held = answers_held_.get();
  environment_.sync = sync_.get();
  environment_.plan_metrics = plan_metrics_.get();
  environment_.journal = journal_.get();
  environment_.blocking = blocking_.get();
  return true;
}

bool ServingProcess::make_loops(std::string& problem) {
  const std::size_t count = context_.launcher_fds.size();
  SharedStages shared{*authenticator_,   *locator_, *admission_,
                      *request_metrics_, clock_,    maintenance_.get()};
  for (std::size_t i = 0; i < count; ++i) {
    io::Result<std::unique_ptr<io::Backend>> backend =
        make_backend(config_, io::kRecvBuffers, problem);
    if (!backend) return false;
    if (i == 0) {
      io::log_event(io::LogLevel::info, (*backend)->describe());
      io::Metrics::instance()
          .gauge("weir_io_backend", fmt::format("kind=\"{}\"", (*backend)->name()),
                 "1 for the kernel interface of the event loops.")
          .set(1);
    }
    ServingLoopOptions options;
    options.index = static_cast<int>(i);
    options.listen_fds = context_.sockets.by_loop[i];
    options.listeners_end = !context_.sockets.handed_over;
    options.launcher_fd = context_.launcher_fds[i];
    options.connections_max = config_.limits.connections_max / static_cast<std::int64_t>(count) + 1;
    options.workers.weir_path = io::own_program();
    options.workers.git_path = config_.git.git_path;
    options.workers.workers = static_cast<int>(config_.git.workers_per_loop);
    options.planners = planner_options(config_, count);
    options.planner_directory = &planner_directory_;
    options.maintenance = {.weir_path = io::own_program(),
                           .git_path = config_.git.git_path,
                           .root = config_.root,
                           .schedule = maintenance_.get()};
    loops_.push_back(std::make_unique<ServingLoop>(
        std::move(options),
        std::make_unique<io::EventLoop>(static_cast<int>(i), std::move(*backend), clock_), shared,
        environment_, policy_, *connection_metrics_));
  }
  return true;
}

bool ServingProcess::make_admin(std::string& problem) {
  io::Result<std::unique_ptr<io::Backend>> backend =
      make_backend(config_, kAdminRecvBuffers, problem);
  if (!backend) return false;
  AdminSources sources;
  sources.loops = [this] {
    std::vector<LoopStatus> status;
    for (const std::unique_ptr<ServingLoop>& loop : loops_) {
      status.push_back({loop->heartbeat_ns(), loop->connections()});
    }
    return status;
  };
  sources.requests = [this](io::Instant now) {
    std::vector<LiveRequestRow> rows;
    const auto all = [](const LiveRequest&) { return true; };
    for (const std::unique_ptr<ServingLoop>& loop : loops_) loop->live().copy_to(rows, now, all);
    return rows;
  };
  sources.ready = [this] { return ready_.load() && !draining_.load(); };
  sources.draining = [this] { return draining_.load(); };
  sources.layout = [root = config_.root](const std::string& name) {
    return layout_json(root, name);
  };
  sources.blocking = blocking_.get();
  sources.io_backend = (*backend)->name();
  sources.confinement = confine_serving_process();  // every ring is made
  sources.addresses = context_.sockets.addresses;
  sources.started_unix_ns = context_.supervisor_started_unix_ns;
  sources.serving_generation = context_.starts;
  const int index = static_cast<int>(loops_.size());
  admin_ = std::make_unique<AdminServer>(
      std::make_unique<io::EventLoop>(index, std::move(*backend), clock_),
      context_.sockets.admin_tcp_fd, context_.sockets.admin_unix_fd, std::move(sources));
  return true;
}

// On a thread of its own: it waits for disks, and a start does not wait for it.
void ServingProcess::sweep_journal(std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  do {
    const git::PushJournal::Swept swept = journal_->sweep();
    if (swept.records > 0) {
      io::log_event(io::LogLevel::warn,
                    fmt::format("cleaned up after {} pushes that were cut short", swept.records));
    }
  } while (!stopped.wait_for(lock, stop, kSweepEvery, [&stop] { return stop.stop_requested(); }));
}

void ServingProcess::start() {
  std::vector<ServingLoop*> all;
  for (const std::unique_ptr<ServingLoop>& loop : loops_) all.push_back(loop.get());
  for (ServingLoop* loop : all) {
    loop->start(all, [this](std::string text) {
      io::log_event(io::LogLevel::error, "a loop could not start: " + text);
      failed_ = true;
    });
  }
  admin_->start();
}

int ServingProcess::run() {
  const io::Result<int> log_fd = io::log_open(config_.log.path);
  if (!log_fd) {
    fmt::print(stderr, "weir: log.path {}: {}\n", config_.log.path, io::to_string(log_fd.error()));
    return 1;
  }
  std::string problem;
  if (!prepare(problem)) {
    fmt::print(stderr, "weir: {}\n", problem);
    return 1;
  }
  io::log_start(*log_fd);
  io::log_event(io::LogLevel::info,
                describe_memory_budgets(memory_budgets(config_, context_.launcher_fds.size())));
  if (!make_loops(problem) || !make_admin(problem)) {
    io::log_event(io::LogLevel::error, problem);
    io::log_stop();
    fmt::print(stderr, "weir: {}\n", problem);
    return 1;
  }
  start();
  std::jthread sweeper([this](std::stop_token stop) { sweep_journal(std::move(stop)); });
  ready_ = true;
  control_.send_ready();
  if (context_.starts == 0) {
    const std::string ready =
        "ready " +
        (announce_.empty() ? "https://" + context_.sockets.addresses.front() : announce_) + "\n";
    [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, ready.data(), ready.size());
  }
  while (!failed_ && follow_control()) {
  }
  if (failed_ || !drained()) {
    note_cut("stop", [](const LiveRequest&) { return true; });
    io::log_stop();
    // The loops still run: what they use must not be taken from under them.
    ::_exit(failed_ ? 1 : 0);
  }
  sweeper = {};
  for (const std::unique_ptr<ServingLoop>& loop : loops_) loop->stop_and_join();
  admin_->stop_and_join();
  blocking_.reset();  // its results go to loops
  loops_.clear();
  admin_.reset();
  io::log_event(io::LogLevel::info, "drained");
  io::log_stop();
  return 0;
}

bool ServingProcess::follow_control() {
  pollfd waited{control_.fd(), POLLIN, 0};
  ::poll(&waited, 1, kControlPollMs);
  if (supervisor_gone_) ::poll(nullptr, 0, kControlPollMs);  // the descriptor stays readable
  while (std::optional<ControlMessage> message = control_.receive()) {
    switch (message->kind) {
      case ControlKind::reload:
        reload();
        break;
      case ControlKind::drain:
        drain();
        break;
      case ControlKind::stop:
        return false;
      case ControlKind::supervisor_gone:
        supervisor_gone_ = true;
        drain();
        break;
      case ControlKind::launcher_sockets:
        for (std::size_t i = 0; i < message->descriptors.size(); ++i) {
          if (i < loops_.size()) {
            loops_[i]->reconnect_launcher(message->descriptors[i]);
          } else {
            ::close(message->descriptors[i]);
          }
        }
        break;
    }
    if (message->kind == ControlKind::supervisor_gone) break;
  }
  tickets_->rotate_if_due(clock_.unix_ns());
  return !drain_has_ended();
}

// Whether there is nothing left to wait for; cuts what has had its time.
bool ServingProcess::drain_has_ended() {
  if (!drain_) return false;
  if (drained()) return true;
  const io::Instant now = clock_.now();
  if (accepting_ && !drain_->accepting(now)) {
    accepting_ = false;
    for (const std::unique_ptr<ServingLoop>& loop : loops_) loop->stop_accepting();
  }
  cut_overdue(now);
  std::size_t in_flight = 0;
  for (const std::unique_ptr<ServingLoop>& loop : loops_) in_flight += loop->live().count();
  if (!aborted_ && drain_->over(now, in_flight > 0)) {
    aborted_ = true;
    for (const std::unique_ptr<ServingLoop>& loop : loops_) loop->abort_connections();
  }
  return drain_->hopeless(now);
}

void ServingProcess::cut_overdue(io::Instant now) {
  const std::vector<std::string> ids = note_cut("drain", [&](const LiveRequest& request) {
    return now >= drain_->deadline(request.of_class, request.arrived_at);
  });
  if (ids.empty()) return;
  for (const std::unique_ptr<ServingLoop>& loop : loops_) loop->cut(ids);
}

// Counts and logs the requests that are to be cut and have not been yet; returns their ids.
template <typename Wanted>
std::vector<std::string> ServingProcess::note_cut(std::string_view why, Wanted wanted) {
  std::vector<LiveRequestRow> rows;
  for (const std::unique_ptr<ServingLoop>& loop : loops_) {
    loop->live().copy_to(rows, clock_.now(), [&](const LiveRequest& request) {
      return wanted(request) && !cut_ids_.contains(request.id);
    });
  }
  std::vector<std::string> ids;
  std::string text;
  for (const LiveRequestRow& row : rows) {
    drain_cuts_[static_cast<std::size_t>(row.of_class)].add();
    if (ids.size() < kCutRowsMax) {
      text += fmt::format("{}{} {} {}/{} ({} s, {} bytes out)", ids.empty() ? ": " : ", ", row.id,
                          row.operation, row.tenant, row.repository,
                          row.age / std::chrono::seconds(1), row.bytes_out);
    }
    cut_ids_.insert(row.id);
    ids.push_back(row.id);
  }
  if (ids.empty()) return ids;
  io::log_event(io::LogLevel::warn,
                fmt::format("{}: {} request{} cut{}{}", why, ids.size(), ids.size() == 1 ? "" : "s",
                            text, ids.size() > kCutRowsMax ? ", ..." : ""));
  return ids;
}

void ServingProcess::drain() {
  if (draining_.exchange(true)) return;
  io::log_event(io::LogLevel::info, "draining");
  const LimitsConfig& limits = config_.limits;
  using std::chrono::seconds;
  drain_.emplace(DrainLimits{.accept = seconds(limits.drain_accept_s),
                             .light = seconds(limits.drain_light_s),
                             .fetch = seconds(limits.drain_fetch_s),
                             .push = seconds(limits.drain_push_s),
                             .whole = seconds(limits.drain_s)},
                 clock_.now());
  for (const std::unique_ptr<ServingLoop>& loop : loops_) {
    loop->drain([this] { loops_drained_.fetch_add(1); });
  }
}

void ServingProcess::tell_certificate_expiry() const {
  io::Metrics::instance()
      .gauge("weir_tls_certificate_expiry_timestamp_seconds", "",
             "When the first of the certificates expires, in Unix time.")
      .set(policy_->tls->certificate_expiry_unix_s());
}

void ServingProcess::reopen_log(const std::string& path) {
  const io::Result<void> reopened = io::log_reopen(path);
  if (reopened) return;
  io::log_event(io::LogLevel::error, "log.path " + path + ": " + io::to_string(reopened.error()) +
                                         "; going on with the file that is open");
}

// Tokens, certificates, the log, rights and rules. What needs a restart (addresses, loops, folders)
// stays.
void ServingProcess::reload() {
  std::string problem;
  reopen_log(config_.log.path);  // whatever comes of the rest: the file may have been moved away
  Config next = config_;
  if (!config_.path.empty()) {
    std::expected<Config, std::string> read = read_config(config_.path);
    if (!read) {
      io::log_event(io::LogLevel::error, "reload refused: " + read.error());
      return;
    }
    next.access = read->access;
    next.access.tokens_path = config_.access.tokens_path;
    next.certificates = read->certificates;
    next.listen.proxy_protocol_networks = read->listen.proxy_protocol_networks;
    next.listen.forwarded_for_networks = read->listen.forwarded_for_networks;
    next.log = read->log;
  }
  std::shared_ptr<const Policy> policy = make_policy(next, tickets_, problem);
  if (policy == nullptr) {
    io::log_event(io::LogLevel::error, "reload refused: " + problem);
    return;
  }
  problem = tokens_->reload();
  if (!problem.empty()) {
    io::log_event(io::LogLevel::error, "reload refused: " + problem);
    return;
  }
  if (next.log.path != config_.log.path) reopen_log(next.log.path);
  config_.log = next.log;
  policy_ = policy;
  tell_certificate_expiry();
  for (const std::unique_ptr<ServingLoop>& loop : loops_) loop->set_policy(policy);
  io::log_event(io::LogLevel::info, "reloaded tokens, certificates and rules");
}

}  // namespace

int run_serving_process(ServingProcessContext context, const Config& config,
                        const std::string& announce) {
  ServingProcess process(std::move(context), config, announce);
  return process.run();
}

}  // namespace weir::server
