// serve_receive_pack: answers POST git-receive-pack. The commands are read and judged first; then
// `git receive-pack` gets them and the pack in a slot, written down in the journal. git syncs no
// folder and renames the ref last, so its report is held back until one syncfs has returned and new
// snapshots are asked for: acknowledged means durable and visible. Formats: gitprotocol-pack(5)
// "Pushing Data To a Server", gitprotocol-http(5).

#include <signal.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "git/child_pipes.h"
#include "git/git_command.h"
#include "git/pkt_line.h"
#include "git/pkt_relay.h"
#include "git/process_slots.h"
#include "git/push_journal.h"
#include "git/receive_commands.h"
#include "git/ref_store.h"
#include "git/report.h"
#include "git/report_relay.h"
#include "git/service_call.h"
#include "git/sync_coalescer.h"
#include "io/event_loop.h"
#include "io/signal.h"
#include "io/task_scope.h"

namespace weir::git {
namespace {

constexpr std::size_t kOutputBytes = 64 * 1024;  // a read of the child's output
// How much of a refused push is still read, so that the client gets to see why.
constexpr std::uint64_t kDrainBytesMax = 1024UL * 1024 * 1024;
constexpr io::Duration kDrainTimeMax = std::chrono::minutes(2);

constexpr std::string_view kUnknownResult =
    "the result of this push is unknown: fetch before you push again";
constexpr std::string_view kNotDone = "not done";

bool gone(const io::Error& error) {
  return error.code == io::Errc::closed || error.code == io::Errc::cancelled;
}

class Push {
 public:
  explicit Push(ServiceCall& call)
      : call_(call),
        held_commands_(*call.environment.requests_held),
        parser_(call.snapshot->format(), call.environment.limits.push_commands_bytes_max) {}
  io::Task<ServiceOutcome> serve();

 private:
  enum class Next : std::uint8_t { go_on, answered };
  io::Task<Next> read_commands();
  std::string objection() const;
  io::Task<void> start();
  io::Task<bool> write_down();
  io::Task<void> feed(io::StopToken stop);
  io::Task<void> relay();
  io::Task<void> take_output(std::string_view output);
  io::Task<void> release_report();
  io::Task<void> make_lasting();
  io::Task<void> conclude();
  io::Task<void> close_record(void (PushJournal::*close)(const std::string& name));
  io::Task<void> explain_failure();

  io::Task<void> drain();
  io::Task<void> refuse(std::string text);
  io::Task<void> refuse_failed(std::string text, std::string detail);
  io::Task<void> send(std::string_view bytes);
  void body_failed(const io::Error& error);
  std::string too_large() const;
  const ReceiveCommands& commands() const { return parser_.commands(); }

  ServiceCall& call_;
  ServiceOutcome outcome_;
  io::ByteBudget::Share held_commands_;
  ReceiveCommandsParser parser_;
  std::uint64_t body_bytes_ = 0;
  bool body_complete_ = false;
  std::optional<io::Error> body_error_;
  bool over_size_ = false;
  bool client_gone_ = false;
  bool sent_any_ = false;

  std::unique_ptr<io::Subprocess> child_;
  std::string record_;
  io::Instant progress_at_{};  // of the input
  bool feed_ended_ = false;
  io::Signal feed_end_;
  bool timed_out_ = false;
  bool output_broken_ = false;
  std::optional<ReportRelay> report_;
  std::string refusals_;   // of a child that ended well
  bool released_ = false;  // the report, or what stands for it, has been sent
  bool lasting_ = false;   // synced; false after make_lasting(): it failed
  bool sync_tried_ = false;
  std::string passing_;
  StderrTail stderr_;
};

io::Task<ServiceOutcome> Push::serve() {
  outcome_.operation = "push";
  const Next next = co_await read_commands();
  if (next == Next::go_on) co_await start();
  co_return std::move(outcome_);
}

io::Task<Push::Next> Push::read_commands() {
  bool complete = false;
  while (!complete) {
    const io::Result<std::span<const std::uint8_t>> chunk = co_await call_.body.read();
    if (!chunk) {
      body_failed(chunk.error());
      if (outcome_.ended == Ended::refused) co_await refuse(too_large());
      co_return Next::answered;
    }
    if (chunk->empty()) {
      if (parser_.bytes().empty()) {
        outcome_.operation = "probe";
      } else {
        body_complete_ = true;
        co_await refuse("the push is cut short");
      }
      co_return Next::answered;
    }
    body_bytes_ += chunk->size();
    if (!held_commands_.grow(chunk->size())) {
      co_await refuse("the server is busy; try again in a minute");
      co_return Next::answered;
    }
    const io::Result<bool> fed = parser_.feed(io::as_text(*chunk));
    if (!fed) {
      co_await refuse(fed.error().where);
      co_return Next::answered;
    }
    complete = *fed;
  }
  if (commands().commands.empty()) {
    // git's probe before a large push, or a push of nothing: git answers neither.
    outcome_.operation = "probe";
    co_await drain();
    co_return Next::answered;
  }
  if (std::string text = objection(); !text.empty()) {
    co_await refuse(std::move(text));
    co_return Next::answered;
  }
  co_return Next::go_on;
}

std::string Push::objection() const {
  for (const PushCommand& command : commands().commands) {
    if (!command.ref_valid) return "a ref name is not allowed: " + command.ref.substr(0, 200);
  }
  if (commands().push_options && !call_.snapshot->config().advertise_push_options) {
    return "push options are switched off in this repository";
  }
  if (body_bytes_ > call_.environment.limits.push_bytes_max) return too_large();
  return "";
}

std::string Push::too_large() const {
  return "this push is larger than the " + std::to_string(call_.environment.limits.push_bytes_max) +
         " bytes allowed";
}

void Push::body_failed(const io::Error& error) {
  body_error_ = error;
  outcome_.detail = io::to_string(error);
  if (gone(error)) {
    client_gone_ = true;
    outcome_.ended = Ended::client_gone;
  } else if (error.code == io::Errc::limit) {
    over_size_ = true;
    outcome_.ended = Ended::refused;
  } else {
    outcome_.ended = Ended::failed;  // not git's business: the server answers for HTTP
  }
}

// Reads what is left of the body, within bounds.
io::Task<void> Push::drain() {
  io::EventLoop& loop = io::EventLoop::current();
  const io::Instant give_up = loop.now() + kDrainTimeMax;
  std::uint64_t drained = 0;
  while (!body_complete_ && !body_error_ && drained <= kDrainBytesMax && loop.now() < give_up) {
    const io::Result<std::span<const std::uint8_t>> chunk = co_await call_.body.read();
    if (!chunk) {
      body_error_ = chunk.error();
      client_gone_ = gone(chunk.error());
    } else if (chunk->empty()) {
      body_complete_ = true;
    } else {
      drained += chunk->size();
    }
  }
}

io::Task<void> Push::send(std::string_view bytes) {
  if (client_gone_ || bytes.empty()) co_return;
  const io::Result<void> sent = co_await call_.answer.write(io::as_bytes(bytes));
  if (!sent) client_gone_ = true;
  sent_any_ = true;
}

io::Task<void> Push::refuse(std::string text) {
  outcome_.ended = Ended::refused;
  if (outcome_.detail.empty()) outcome_.detail = text;
  co_await drain();
  std::string answer = push_refusal(commands(), text, kNotDone, call_.request_id);
  // Before its capabilities are known a client can be told only by what any git shows.
  if (answer.empty()) answer = error_answer(text, call_.request_id);
  co_await send(answer);
  if (client_gone_) outcome_.ended = Ended::client_gone;
}

io::Task<void> Push::refuse_failed(std::string text, std::string detail) {
  outcome_.detail = std::move(detail);
  co_await refuse(std::move(text));
  if (outcome_.ended == Ended::refused) outcome_.ended = Ended::failed;
}

io::Task<void> Push::start() {
  GitEnvironment& environment = call_.environment;
  io::EventLoop& loop = io::EventLoop::current();
  const io::Instant asked = loop.now();
  io::Result<ProcessSlots::Slot> slot = co_await environment.push_slots->acquire(
      call_.stop, io::Deadline::after(asked, environment.limits.slot_wait_max));
  outcome_.slot_wait = loop.now() - asked;
  if (!slot) {
    if (slot.error().code == io::Errc::cancelled) {
      outcome_.ended = Ended::client_gone;
    } else {
      co_await refuse("too many pushes are waiting; try again in a minute");
    }
    co_return;
  }
  io::Result<std::unique_ptr<io::Subprocess>> child = co_await environment.launcher->spawn(
      git_command(call_, Service::receive_pack), io::Deadline::after(loop.now(), kSpawnTimeMax));
  if (!child) {
    co_await refuse_failed("the server could not start this push; try again in a minute",
                           io::to_string(child.error()));
    co_return;
  }
  child_ = std::move(*child);
  const bool written = co_await write_down();
  if (!written) {
    child_->kill(SIGKILL);
    co_await refuse_failed("the server could not record this push; try again in a minute",
                           outcome_.detail);
    (void)co_await reap(*child_, kKilledExitTimeMax);
    co_return;
  }
  report_.emplace(commands().sideband);
  io::TaskScope scope;
  io::StopSource over;
  scope.spawn(feed(io::StopToken(over)));
  scope.spawn(stderr_.collect(child_->stderr_fd(), io::StopToken(over)));
  co_await relay();
  co_await conclude();
  over.request_stop();
  co_await scope.join();
}

io::Task<bool> Push::write_down() {
  PushRecord record;
  record.pid = child_->pid();
  record.start_ticks = child_->start_ticks();
  record.started_unix_ns = io::EventLoop::current().clock().unix_ns();
  record.git_dir = call_.repository->git_dir;
  record.common_dir = call_.repository->common_dir;
  record.request_id = call_.request_id;
  for (const PushCommand& command : commands().commands) {
    record.refs.push_back(command.ref);
    const std::optional<Ref> ref = call_.snapshot->find(command.ref);
    if (ref && valid_push_ref(ref->symref_target, true)) {
      record.refs.emplace_back(ref->symref_target);  // git locks what it stands for
    }
  }
  auto begin = [this, &record] { return call_.environment.journal->begin(std::move(record)); };
  const io::Result<io::Result<std::string>> begun =
      co_await call_.environment.blocking->run(std::move(begin));
  if (!begun || !*begun) {
    outcome_.detail = "push record: " + io::to_string(begun ? begun->error() : begun.error());
    co_return false;
  }
  record_ = **begun;
  co_return true;
}

// Commands and pack to the child; once it reads no more (it has failed and says so), to nowhere.
io::Task<void> Push::feed(io::StopToken stop) {
  const std::uint64_t bytes_max = call_.environment.limits.push_bytes_max;
  std::span<const std::uint8_t> bytes = io::as_bytes(parser_.bytes());
  io::EventLoop& loop = io::EventLoop::current();
  bool reads = true;
  while (!stop.stopped()) {
    progress_at_ = loop.now();
    if (reads) {
      const io::Result<void> written = co_await write_pipe(child_->stdin_fd(), bytes, stop);
      reads = written.has_value();
    }
    const io::Result<std::span<const std::uint8_t>> chunk = co_await call_.body.read();
    if (!chunk) {
      body_error_ = chunk.error();
      client_gone_ = client_gone_ || gone(chunk.error());
      over_size_ = over_size_ || chunk.error().code == io::Errc::limit;
      break;
    }
    if (chunk->empty()) {
      body_complete_ = true;
      break;
    }
    body_bytes_ += chunk->size();
    if (body_bytes_ > bytes_max) {
      over_size_ = true;
      child_->kill(SIGKILL);
      reads = false;
      if (body_bytes_ > bytes_max + kDrainBytesMax) break;
    }
    bytes = *chunk;
  }
  if (body_complete_ && !over_size_) {
    // It has all it needs: from here on it finishes, whoever else leaves or dies.
    child_->release_to_finish();
  } else {
    child_->kill(SIGKILL);
  }
  child_->close_stdin();
  feed_ended_ = true;
  feed_end_.notify();
}

io::Task<void> Push::relay() {
  io::EventLoop& loop = io::EventLoop::current();
  const GitLimits& limits = call_.environment.limits;
  std::vector<std::uint8_t> buffer(kOutputBytes);
  for (;;) {
    // Whether it speaks or not: a hook may print for ever.
    timed_out_ = loop.now() - progress_at_ >= limits.push_time_max;
    if (timed_out_) co_return;
    const io::Deadline silence = io::Deadline::after(loop.now(), limits.keepalive);
    const io::StopToken stop = client_gone_ ? io::StopToken() : call_.stop;
    const io::Result<std::size_t> got =
        co_await read_pipe(child_->stdout_fd(), buffer, stop, silence);
    if (got && *got == 0) co_return;
    if (got) {
      co_await take_output({reinterpret_cast<const char*>(buffer.data()), *got});
      if (output_broken_) co_return;
    } else if (got.error().code == io::Errc::cancelled) {
      client_gone_ = true;  // feed() learns by itself whether the input was complete
    } else if (got.error().code != io::Errc::deadline_exceeded) {
      output_broken_ = true;
      co_return;
    } else if (feed_ended_ && commands().sideband) {
      co_await send(kKeepalive);
    }
  }
}

io::Task<void> Push::take_output(std::string_view output) {
  if (!report_->feed(output, passing_)) {
    output_broken_ = true;
    co_return;
  }
  co_await send(passing_);
  passing_.clear();
  // Without a sideband nothing may follow the report, so it waits for the child's end.
  if (report_->report_complete() && !released_ && commands().sideband) co_await release_report();
}

io::Task<void> Push::release_report() {
  // The answer must not end before the upload has: clients would see a broken connection.
  while (!feed_ended_) (void)co_await feed_end_.wait();
  if (report_->accepts_any()) {
    co_await make_lasting();
  } else {
    lasting_ = true;
    call_.environment.refs->changed(call_.repository->id);
  }
  released_ = true;
  if (lasting_) {
    co_await send(report_->framed_report());
    co_return;
  }
  outcome_.ended = Ended::failed;
  co_await send(
      push_refusal_report(commands(), kUnknownResult, "result unknown", call_.request_id));
}

io::Task<void> Push::make_lasting() {
  const io::Result<void> synced =
      co_await call_.environment.sync->sync(call_.repository->common_dir);
  sync_tried_ = true;
  lasting_ = synced.has_value();
  if (!lasting_) outcome_.detail = "sync: " + io::to_string(synced.error());
  call_.environment.refs->changed(call_.repository->id);
}

io::Task<void> Push::conclude() {
  const bool ended_itself = !timed_out_ && !output_broken_;
  if (!ended_itself) child_->kill(SIGKILL);
  const io::Result<io::ExitStatus> status =
      co_await reap(*child_, ended_itself ? kExitTimeMax : kKilledExitTimeMax);
  if (status) {
    outcome_.child_cpu_us = status->cpu_us;
    outcome_.child_rss_bytes_max = status->rss_bytes_max;
  }
  while (!feed_ended_) (void)co_await feed_end_.wait();
  const bool wants_report = commands().report_status || commands().report_status_v2;
  const bool said_all = report_->report_complete() || !wants_report;
  const bool well = ended_itself && status && status->code == 0 && !over_size_ && said_all;
  if (well && report_->report_complete()) refusals_ = report_->refusals();
  // Before the client is told, so that its next try meets no lock of this one.
  if (!well) co_await close_record(&PushJournal::child_died);
  if (well && !released_) {
    if (report_->report_complete()) {
      co_await release_report();
    } else {
      co_await make_lasting();
      if (!lasting_) outcome_.cut = true;  // a client without reports can be told in no other way
    }
    released_ = true;
  }
  if (released_) {
    if (commands().sideband && !outcome_.cut) co_await send("0000");
    if (!well && outcome_.detail.empty()) outcome_.detail = "ended badly after its report";
  } else {
    co_await explain_failure();
  }
  if (!refusals_.empty() && outcome_.detail.empty()) {
    outcome_.detail = refusals_;
    // All of them refused by git or its hooks: nothing failed on our side.
    if (!report_->accepts_any()) outcome_.ended = Ended::refused;
  }
  if (client_gone_) outcome_.ended = Ended::client_gone;
  if (outcome_.detail.empty()) outcome_.detail = stderr_.text();
  if (client_gone_ && released_) outcome_.detail = "finished after its client had left";
  if (!well) co_return;
  // Nothing was accepted: git's locks must be gone for good before the record that speaks of them.
  if (!sync_tried_) (void)co_await call_.environment.sync->sync(call_.repository->common_dir);
  co_await close_record(refusals_.empty() ? &PushJournal::end : &PushJournal::end_refusing);
}

io::Task<void> Push::close_record(void (PushJournal::*close)(const std::string& name)) {
  auto closing = [this, close] {
    (call_.environment.journal->*close)(record_);
    return true;
  };
  const io::Result<bool> closed = co_await call_.environment.blocking->run(closing);
  if (!closed) call_.environment.journal->leave_to_sweep(record_);  // the pool has no room
}

// The child is gone and has said nothing about the refs.
io::Task<void> Push::explain_failure() {
  call_.environment.refs->changed(call_.repository->id);
  outcome_.ended = Ended::failed;
  std::string text(kUnknownResult);
  std::string_view reason = "result unknown";
  if (over_size_) {
    outcome_.ended = Ended::refused;
    outcome_.detail = text = too_large();
    reason = kNotDone;
  } else if (body_error_) {
    // Nothing was decided: the child had not got all of its input.
    outcome_.detail = io::to_string(*body_error_);
    outcome_.cut = sent_any_;
    if (!client_gone_ && !sent_any_) co_return;  // the server answers for HTTP
    text = "the push is cut short";
    reason = kNotDone;
  } else if (timed_out_) {
    outcome_.detail = "took longer than allowed";
  }
  if (outcome_.detail.empty()) {
    outcome_.detail = "git receive-pack ended badly: " + stderr_.text();
  }
  std::string answer = push_refusal(commands(), text, reason, call_.request_id);
  if (answer.empty()) outcome_.cut = true;
  co_await send(answer);
}

}  // namespace

io::Task<ServiceOutcome> serve_receive_pack(ServiceCall& call) {
  Push push(call);
  ServiceOutcome outcome = co_await push.serve();
  co_return outcome;
}

}  // namespace weir::git
