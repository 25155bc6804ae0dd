#include "git/native_fetch.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "git/pkt_line.h"
#include "git/pkt_relay.h"
#include "git/plan_source.h"
#include "git/recipe_answer.h"
#include "git/report.h"
#include "io/event_loop.h"
#include "io/signal.h"
#include "io/task_scope.h"

namespace weir::git {
namespace {

constexpr std::size_t kProblemBytesMax = 200;  // of a planner's words in the log
constexpr std::size_t kIdsOnLoopMax = 4096;    // spelled out in less than half a millisecond

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// As people write it: git_parse_ulong() reads more (octal, hexadecimal, signs).
std::optional<std::uint64_t> parse_size(std::string_view text) {
  unsigned shift = 0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'm':
      case 'M':
        shift = 20;
        break;
      case 'g':
      case 'G':
        shift = 30;
        break;
      default:
        break;
    }
  }
  if (shift > 0) text.remove_suffix(1);
  if (text.empty() || (text[0] == '0' && text.size() > 1)) return std::nullopt;
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stopped != end ||
      value > std::numeric_limits<std::uint64_t>::max() >> shift) {
    return std::nullopt;
  }
  return value << shift;
}

// Adds one part of a filter. False: not one of those that are planned.
bool add_filter(std::string_view part, ObjectFilter& filter) {
  if (part == "blob:none") {
    filter.no_blobs = true;
    return true;
  }
  if (take_prefix(part, "blob:limit=")) {
    const std::optional<std::uint64_t> bytes = parse_size(part);
    if (bytes) filter.blob_bytes_limit = std::min(filter.blob_bytes_limit, *bytes);
    return bytes.has_value();
  }
  if (part == "tree:0") {
    filter.tree_depth_limit = 0;
    return true;
  }
  if (take_prefix(part, "object:type=")) {
    for (const ObjectType type :
         {ObjectType::commit, ObjectType::tree, ObjectType::blob, ObjectType::tag}) {
      if (part != type_name(type)) continue;
      const auto bit = static_cast<std::uint8_t>(1U << static_cast<unsigned>(type));
      if (filter.types != 0 && filter.types != bit) return false;  // two kinds at once: none
      filter.types = bit;
      return true;
    }
  }
  return false;
}

std::string reason_text(FallbackReason reason, const std::string& problem) {
  std::string text(reason_name(reason));
  if (!problem.empty()) text += ": " + problem.substr(0, kProblemBytesMax);
  return text;
}

class NativeFetch {
 public:
  NativeFetch(ServiceCall& call, const FetchRequest& fetch, ServiceOutcome& outcome,
              std::string& said)
      : call_(call), fetch_(fetch), outcome_(outcome), said_(said), stop_(call.stop) {}

  io::Task<FallbackReason> serve();

 private:
  io::Task<FallbackReason> plan_and_send(PlanRequest request);
  // Asks for the plan; keeps the connection alive while it is made.
  io::Task<io::Result<Planned>> planned(PlanRequest request);
  io::Task<void> ask(PlanRequest request);
  io::Task<void> keep_alive();
  // Why git has to answer instead of this reply; none: it need not.
  FallbackReason reason_of(const PlanReply& reply);
  // Whether what comes before the pack is the same whatever the plan says.
  bool head_is_known() const { return fetch_.haves.empty() && !has_boundary(); }
  // Whether the client is told what is shallow.
  bool has_boundary() const { return fetch_.deepen != 0 || !fetch_.shallows.empty(); }
  // Whether the client waits for what we make of its haves; a pack comes only once we are ready.
  // (What a planner says is not trusted to fit what was asked.)
  bool may_negotiate() const {
    return call_.protocol_version == 2 && !fetch_.haves.empty() && !fetch_.done;
  }
  // What comes before the pack.
  std::string head(const PlanReply& reply) const;
  std::string acknowledgments(const PlanReply& reply) const;
  // What `spell` makes of the reply, off the loop if that is long.
  io::Task<std::string> spelled(const PlanReply& reply,
                                std::string (NativeFetch::*spell)(const PlanReply&) const) const;
  std::string boundary(const PlanReply& reply) const;
  io::Task<void> ask_for_more(const PlanReply& reply);
  io::Task<void> send(const Planned& planned);
  void left() { outcome_.ended = Ended::client_gone; }

  ServiceCall& call_;
  const FetchRequest& fetch_;
  ServiceOutcome& outcome_;
  std::string& said_;
  io::LinkedStopSource stop_;
  io::Signal plan_made_;
  std::optional<io::Result<Planned>> plan_;
  std::string problem_;
};

io::Task<FallbackReason> NativeFetch::serve() {
  std::expected<PlanRequest, FallbackReason> request = plan_request(fetch_, call_.protocol_version);
  FallbackReason reason = FallbackReason::none;
  if (!request) {
    reason = request.error();
  } else if (call_.environment.planners == nullptr) {
    reason = FallbackReason::planner;
  } else {
    reason = co_await plan_and_send(std::move(*request));
  }
  outcome_.plan =
      reason == FallbackReason::none ? std::string("planned") : reason_text(reason, problem_);
  if (const FetchPlanMetrics* const metrics = call_.environment.plan_metrics) {
    metrics->count(reason);
  }
  co_return reason;
}

io::Task<FallbackReason> NativeFetch::plan_and_send(PlanRequest request) {
  const io::EventLoop& loop = io::EventLoop::current();
  const io::Instant asked = loop.now();
  const io::Result<Planned> plan = co_await planned(std::move(request));
  if (call_.environment.plan_metrics != nullptr) {
    call_.environment.plan_metrics->took(loop.now() - asked);
  }
  if (stop_.stopped() || (!plan && plan.error().code == io::Errc::cancelled)) {
    left();
    co_return FallbackReason::none;
  }
  if (!plan) {
    problem_ = io::to_string(plan.error());
    co_return plan.error().code == io::Errc::deadline_exceeded ? FallbackReason::budget
                                                               : FallbackReason::planner;
  }
  const FallbackReason reason = reason_of(*plan->reply);
  if (reason != FallbackReason::none) co_return reason;
  if (plan->reply->status == PlanStatus::negotiating) {
    co_await ask_for_more(*plan->reply);
  } else {
    co_await send(*plan);
  }
  co_return FallbackReason::none;
}

io::Task<io::Result<Planned>> NativeFetch::planned(PlanRequest request) {
  const GitLimits& limits = call_.environment.limits;
  request.time_ms_max = static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(limits.plan_time_max).count());
  io::TaskScope asking;
  asking.spawn(ask(std::move(request)));
  while (!plan_) {
    const io::Deadline silence =
        io::Deadline::after(io::EventLoop::current().now(), limits.keepalive);
    const io::Result<void> waited = co_await plan_made_.wait({}, silence);
    if (!waited && !plan_) co_await keep_alive();
  }
  co_await asking.join();
  co_return std::move(*plan_);
}

io::Task<void> NativeFetch::ask(PlanRequest request) {
  const io::Deadline deadline =
      io::Deadline::after(io::EventLoop::current().now(), call_.environment.limits.plan_time_max);
  auto planning = call_.environment.planners->plan(call_.repository, call_.snapshot,
                                                   std::move(request), stop_.token(), deadline);
  plan_ = co_await std::move(planning);
  plan_made_.notify();
}

// Only in the pack's section may something be said that means nothing, so it is begun: what comes
// before it is the same whoever answers.
io::Task<void> NativeFetch::keep_alive() {
  if (fetch_.sideband == SidebandKind::none || !head_is_known()) co_return;
  std::string bytes;
  if (said_.empty()) bytes = said_ = head({});
  bytes += kKeepalive;
  const io::Result<void> sent = co_await call_.answer.write(io::as_bytes(bytes));
  if (!sent) stop_.request_stop();
}

FallbackReason NativeFetch::reason_of(const PlanReply& reply) {
  problem_ = reply.problem;
  switch (reply.status) {
    case PlanStatus::planned:
      return !may_negotiate() || (reply.ready && !fetch_.wait_for_done) ? FallbackReason::none
                                                                        : FallbackReason::planner;
    case PlanStatus::negotiating:
      return may_negotiate() ? FallbackReason::none : FallbackReason::planner;
    case PlanStatus::fallback:
      return reply.reason == FallbackReason::none ? FallbackReason::planner : reply.reason;
    case PlanStatus::missing:
      return FallbackReason::corrupt;
    case PlanStatus::failed:
      break;
  }
  return FallbackReason::planner;
}

std::string NativeFetch::head(const PlanReply& reply) const {
  std::string head;
  if (call_.protocol_version == 2) {
    if (may_negotiate()) {
      head += acknowledgments(reply);
      append_delim(head);
    }
    if (has_boundary()) {
      append_pkt(head, "shallow-info\n");
      head += boundary(reply);
      append_delim(head);
    }
    append_pkt(head, "packfile\n");
    return head;
  }
  if (fetch_.deepen != 0) {
    head += boundary(reply);
    append_flush(head);
  }
  append_pkt(head, "NAK\n");
  return head;
}

std::string NativeFetch::acknowledgments(const PlanReply& reply) const {
  std::string section;
  append_pkt(section, "acknowledgments\n");
  if (reply.common.empty()) append_pkt(section, "NAK\n");
  for (const ObjectId& id : reply.common) append_pkt(section, "ACK " + id.to_hex() + "\n");
  if (reply.ready && !fetch_.wait_for_done) append_pkt(section, "ready\n");
  return section;
}

std::string NativeFetch::boundary(const PlanReply& reply) const {
  std::string lines;
  for (const ObjectId& id : reply.shallow) append_pkt(lines, "shallow " + id.to_hex());
  for (const ObjectId& id : reply.unshallow) append_pkt(lines, "unshallow " + id.to_hex());
  return lines;
}

io::Task<std::string> NativeFetch::spelled(const PlanReply& reply,
                                           std::string (NativeFetch::*spell)(const PlanReply&)
                                               const) const {
  const std::size_t ids = reply.common.size() + reply.shallow.size() + reply.unshallow.size();
  auto make = [&] { return (this->*spell)(reply); };
  if (ids > kIdsOnLoopMax) {
    auto making = call_.environment.blocking->run(make);
    io::Result<std::string> made = co_await std::move(making);
    if (made) co_return std::move(*made);
  }
  co_return make();  // also where no thread is free: the plan has been paid for
}

io::Task<void> NativeFetch::ask_for_more(const PlanReply& reply) {
  std::string answer = co_await spelled(reply, &NativeFetch::acknowledgments);
  append_flush(answer);
  call_.answer.announce(answer.size());
  const io::Result<void> sent = co_await call_.answer.write(io::as_bytes(answer));
  if (!sent) left();
}

io::Task<void> NativeFetch::send(const Planned& planned) {
  const Recipe& recipe = planned.reply->recipe;
  const bool progress = !fetch_.no_progress;
  const bool announced = said_.empty();
  if (announced) {
    const std::string bytes = co_await spelled(*planned.reply, &NativeFetch::head);
    call_.answer.announce(bytes.size() + framed_bytes(recipe, fetch_.sideband, progress));
    const io::Result<void> sent = co_await call_.answer.write(io::as_bytes(bytes));
    if (!sent) {
      left();
      co_return;
    }
  }
  auto fd_of = [&planned](std::size_t file) { return planned.files->fd(file); };
  auto sending = send_recipe(call_.answer, recipe, std::move(fd_of), fetch_.sideband, progress,
                             call_.environment.answers_held, call_.stop);
  const io::Result<void> sent = co_await std::move(sending);
  if (sent) co_return;
  if (sent.error().code == io::Errc::closed || sent.error().code == io::Errc::cancelled) {
    left();
    co_return;
  }
  outcome_.ended = Ended::failed;
  outcome_.detail = io::to_string(sent.error());
  // As many bytes as were announced cannot follow: then the cut comes after the message.
  outcome_.cut = announced || fetch_.sideband == SidebandKind::none;
  if (fetch_.sideband == SidebandKind::none) co_return;
  const std::string told =
      fatal_band("the server could not finish this answer; try again", call_.request_id);
  const io::Result<void> said = co_await call_.answer.write(io::as_bytes(told));
  if (!said) left();
}

}  // namespace

FetchPlanMetrics::FetchPlanMetrics() {
  io::Metrics& metrics = io::Metrics::instance();
  for (std::size_t i = 0; i < results_.size(); ++i) {
    const auto reason = static_cast<FallbackReason>(i);
    const std::string_view name = reason == FallbackReason::none ? "planned" : reason_name(reason);
    results_[i] = metrics.counter("weir_fetch_plans", "result=\"" + std::string(name) + "\"",
                                  "Fetches planned, or why git answered them.");
  }
  seconds_ = metrics.histogram("weir_fetch_plan_seconds", "", "Time until a fetch's plan came.");
}

std::optional<ObjectFilter> parse_object_filter(std::string_view filter) {
  ObjectFilter parsed;
  const bool several = take_prefix(filter, "combine:");
  for (;;) {
    const std::size_t end = several ? std::min(filter.find('+'), filter.size()) : filter.size();
    if (!add_filter(filter.substr(0, end), parsed)) return std::nullopt;
    if (end == filter.size()) return parsed;
    filter.remove_prefix(end + 1);
  }
}

std::expected<PlanRequest, FallbackReason> plan_request(const FetchRequest& fetch,
                                                        int protocol_version) {
  const bool all_history = fetch.deepen == kDepthMax;
  if (fetch.deepen_since >= 0 || !fetch.deepen_not.empty() ||
      (fetch.deepen_relative && !all_history)) {
    return std::unexpected(FallbackReason::shallow);
  }
  if (fetch.wants.empty()) return std::unexpected(FallbackReason::negotiation);
  if (protocol_version == 2) {
    if (fetch.haves.empty() && fetch.wait_for_done && !fetch.done) {
      return std::unexpected(FallbackReason::negotiation);
    }
  } else if (!fetch.haves.empty() || !fetch.done) {
    return std::unexpected(FallbackReason::negotiation);  // its rounds depend on where it paused
  }
  PlanRequest request;
  if (!fetch.filter.empty()) {
    const std::optional<ObjectFilter> filter = parse_object_filter(fetch.filter);
    if (!filter) return std::unexpected(FallbackReason::filter);
    request.filter = *filter;
  }
  request.wants = fetch.wants;
  request.haves = fetch.haves;
  request.shallows = fetch.shallows;
  request.depth = static_cast<std::uint32_t>(fetch.deepen);
  request.done = fetch.done;
  request.wait_for_done = fetch.wait_for_done;
  request.thin_pack = fetch.thin_pack;
  request.ofs_delta = fetch.ofs_delta;
  request.include_tag = fetch.include_tag;
  return request;
}

io::Task<FallbackReason> serve_native_fetch(ServiceCall& call, const FetchRequest& fetch,
                                            ServiceOutcome& outcome, std::string& said) {
  NativeFetch native(call, fetch, outcome, said);
  auto serving = native.serve();
  co_return co_await std::move(serving);
}

}  // namespace weir::git
