// serve_upload_pack: answers POST git-upload-pack. Natively what needs no objects (probes, ls-refs,
// refusals); from plans what can be planned (native_fetch.h); by `git upload-pack` in a slot what
// is left. Whatever a client wants that it was not told of is checked first, because git itself
// does not check it in protocol v2. Formats: gitprotocol-v2(5), gitprotocol-pack(5),
// gitprotocol-http(5).

#include <signal.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_set>
#include <utility>

#include "git/child_pipes.h"
#include "git/fetch_guard.h"
#include "git/fetch_request.h"
#include "git/git_command.h"
#include "git/ls_refs.h"
#include "git/native_fetch.h"
#include "git/pkt_relay.h"
#include "git/process_slots.h"
#include "git/report.h"
#include "git/service_call.h"
#include "git/v2_request.h"
#include "git/worker_pool.h"
#include "io/digest.h"
#include "io/event_loop.h"
#include "io/signal.h"
#include "io/task_scope.h"

namespace weir::git {
namespace {

constexpr std::size_t kRelayBytes = 128 * 1024;  // a read; eight of them are a full pipe
constexpr std::size_t kHeldBytesMax = 4;         // what PktRelay keeps back
// Less than this in the pack phase is worth a short wait for more: small TLS records are dear.
constexpr std::size_t kGatherBytes = 16 * 1024;
constexpr io::Duration kGatherTime = std::chrono::milliseconds(2);
// Requests larger than this are parsed off the loop.
constexpr std::size_t kParseOnLoopBytes = 64 * 1024;
// More wants than this are looked up off the loop.
constexpr std::size_t kWantsOnLoopMax = 1024;

constexpr std::string_view kFiltersOff = "filters are switched off in this repository";
constexpr std::string_view kFilterNotServed =
    "filters are served by blob:none, blob:limit, tree, object:type and combinations of a few";
constexpr std::string_view kBusy = "the server is busy; try again in a minute";

bool gone(const io::Error& error) {
  return error.code == io::Errc::closed || error.code == io::Errc::cancelled;
}

struct Parsed {
  std::string operation;
  RelayKind kind = RelayKind::v2;
  FetchRequest fetch;  // wants: of object-info, its ids
  LsRefsRequest ls_refs;
  std::string refusal;  // a text for the user; "" if the request is sound
};

std::string operation_of(const FetchRequest& fetch) {
  if (fetch.shallow_answer()) return "fetch-shallow";
  return fetch.haves.empty() ? "clone" : "fetch";
}

Parsed parse_v2(std::string_view body, const RepositoryConfig& config, ObjectFormat format) {
  Parsed parsed;
  parsed.operation = "fetch";
  const io::Result<V2Request> request = parse_v2_request(body, format);
  if (!request) {
    parsed.refusal = request.error().where;
    return parsed;
  }
  if (request->command == "ls-refs") {
    parsed.operation = "ls-refs";
    std::expected<LsRefsRequest, std::string> ls_refs = parse_ls_refs(request->arguments);
    if (ls_refs) {
      parsed.ls_refs = std::move(*ls_refs);
    } else {
      parsed.refusal = ls_refs.error();
    }
    return parsed;
  }
  if (request->command == "object-info") {
    parsed.operation = "object-info";
    io::Result<std::vector<ObjectId>> ids = parse_object_info(request->arguments, format);
    if (!ids) {
      parsed.refusal = ids.error().where;
    } else {
      parsed.fetch.wants = std::move(*ids);
    }
    return parsed;
  }
  io::Result<FetchRequest> fetch = parse_v2_fetch(request->arguments, format);
  if (!fetch) {
    parsed.refusal = fetch.error().where;
  } else if (!fetch->want_refs.empty() || fetch->sideband_all || !fetch->packfile_uris.empty()) {
    parsed.refusal = "the request uses a feature that was not offered";
  } else if (!fetch->filter.empty() && !config.allow_filter) {
    parsed.refusal = kFiltersOff;
  } else if (!fetch->filter.empty() && !filter_served(fetch->filter)) {
    parsed.refusal = kFilterNotServed;
  } else {
    parsed.operation = operation_of(*fetch);
    parsed.fetch = std::move(*fetch);
  }
  return parsed;
}

Parsed parse_v0(std::string_view body, const RepositoryConfig& config, ObjectFormat format) {
  Parsed parsed;
  parsed.operation = "fetch";
  io::Result<FetchRequest> fetch = parse_v0_fetch(body, format);
  if (!fetch) {
    parsed.refusal = fetch.error().where;
  } else if (!fetch->filter.empty() && !config.allow_filter) {
    parsed.refusal = kFiltersOff;
  } else if (!fetch->filter.empty() && !filter_served(fetch->filter)) {
    parsed.refusal = kFilterNotServed;
  } else {
    parsed.operation = operation_of(*fetch);
    parsed.kind =
        fetch->sideband == SidebandKind::none ? RelayKind::v0_plain : RelayKind::v0_sideband;
    parsed.fetch = std::move(*fetch);
  }
  return parsed;
}

std::vector<ObjectId> not_advertised(const ServiceCall& call, const std::vector<ObjectId>& wants) {
  std::vector<ObjectId> unknown;
  for (const ObjectId& want : wants) {
    if (call.snapshot->advertises(want, Service::upload_pack)) continue;
    if (call.shown && call.shown->advertises(want, Service::upload_pack)) continue;
    unknown.push_back(want);
  }
  return unknown;
}

struct Tips {
  std::vector<ObjectId> ids;  // sorted
  std::string digest;
};

// What visible refs point at: where reachability starts. The digest is their own: that of the refs
// stays the same when the configuration hides some of them.
Tips visible_tips(const RefSnapshot& snapshot) {
  std::unordered_set<ObjectId, ObjectIdHash> tips;
  for (std::size_t i = 0; i < snapshot.size(); ++i) {
    const Ref ref = snapshot.at(i);
    if (!ref.hidden_from(Service::upload_pack) && !ref.id.is_null()) tips.insert(ref.id);
  }
  const ObjectId head = snapshot.head_id();
  if (!head.is_null() && snapshot.advertises(head, Service::upload_pack)) tips.insert(head);
  Tips sorted{{tips.begin(), tips.end()}, {}};
  std::ranges::sort(sorted.ids);
  std::string bytes;
  bytes.reserve(sorted.ids.size() * hash_bytes(snapshot.format()));
  for (const ObjectId& id : sorted.ids) {
    bytes.append(reinterpret_cast<const char*>(id.hash.data()), id.bytes);
  }
  sorted.digest = io::to_hex(io::sha256(bytes));
  return sorted;
}

class Upload {
 public:
  explicit Upload(ServiceCall& call) : call_(call), held_body_(*call.environment.requests_held) {}
  io::Task<ServiceOutcome> serve();

 private:
  io::Task<io::Result<void>> read_body();
  io::Task<void> refuse(std::string text);
  io::Task<void> fail_before_output(std::string text, std::string detail);
  io::Task<void> send(std::string bytes);
  // Why there is no answer, or no more of it; between packets.
  io::Task<void> tell(std::string_view text);
  io::Task<void> answer_ls_refs(const LsRefsRequest& request);
  // Null: there is none.
  const std::string* unknown_deepen_not(const FetchRequest& fetch) const;
  // True: go on. False: the answer has been given.
  io::Task<bool> check_wants(const std::vector<ObjectId>& wants);
  io::Task<void> run_child(RelayKind kind, bool deepen_relative);
  io::Task<void> feed(io::Subprocess& child, io::StopToken stop);
  enum class End : std::uint8_t { output_ended, client_gone, broken, silent };
  io::Task<End> relay(io::Subprocess& child, PktRelay& relay);
  io::Task<void> conclude(io::Subprocess& child, const PktRelay& relay, End end);
  void left() { outcome_.ended = Ended::client_gone; }

  ServiceCall& call_;
  ServiceOutcome outcome_;
  std::string body_;
  io::ByteBudget::Share held_body_;
  // The output buffer: what is held back stands right before what is read next.
  std::unique_ptr<std::uint8_t[]> buffer_;
  std::size_t held_ = 0;
  bool sent_any_ = false;
  std::string said_;  // of git's answer, sent before it was asked for
  StderrTail stderr_;
};

io::Task<ServiceOutcome> Upload::serve() {
  outcome_.operation = "fetch";
  const io::Result<void> read = co_await read_body();
  if (!read) {
    outcome_.detail = io::to_string(read.error());
    if (gone(read.error())) {
      left();
    } else if (read.error().code == io::Errc::limit) {
      co_await refuse("the request is larger than " +
                      std::to_string(call_.environment.limits.fetch_request_bytes_max) + " bytes");
    } else if (read.error().code == io::Errc::unavailable) {
      co_await refuse(std::string(kBusy));
    } else {
      outcome_.ended = Ended::failed;  // nothing is sent: the server answers for HTTP
    }
    co_return std::move(outcome_);
  }
  if (body_.empty() || body_ == "0000") {
    outcome_.operation = "probe";
    co_return std::move(outcome_);
  }

  auto parse = [this] {
    const RepositoryConfig& config = call_.snapshot->config();
    const ObjectFormat format = call_.snapshot->format();
    Parsed parsed = call_.protocol_version == 2 ? parse_v2(body_, config, format)
                                                : parse_v0(body_, config, format);
    const bool drop_tags = parsed.fetch.include_tag && may_hide_tags(config.hide_refs_fetch);
    const bool unshallow = parsed.fetch.deepen == kDepthMax && !parsed.fetch.shallows.empty();
    if (unshallow) parsed.fetch.deepen_relative = true;
    if (drop_tags || unshallow) {
      body_ = request_for_git(body_, call_.protocol_version, drop_tags);
    }
    return parsed;
  };
  Parsed parsed;
  if (body_.size() <= kParseOnLoopBytes) {
    parsed = parse();
  } else {
    io::Result<Parsed> ran = co_await call_.environment.blocking->run(std::move(parse));
    if (!ran) {
      co_await fail_before_output(std::string(kBusy), io::to_string(ran.error()));
      co_return std::move(outcome_);
    }
    parsed = std::move(*ran);
  }
  outcome_.operation = parsed.operation;
  if (!parsed.refusal.empty()) {
    co_await refuse(std::move(parsed.refusal));
  } else if (parsed.operation == "ls-refs") {
    co_await answer_ls_refs(parsed.ls_refs);
  } else if (const std::string* unknown = unknown_deepen_not(parsed.fetch)) {
    co_await refuse("deepen-not names no ref: " + *unknown);
  } else {
    const bool allowed = co_await check_wants(parsed.fetch.wants);
    FallbackReason reason = FallbackReason::planner;
    if (allowed && parsed.operation != "object-info") {
      reason = co_await serve_native_fetch(call_, parsed.fetch, outcome_, said_);
      sent_any_ = !said_.empty();
    }
    if (allowed && reason != FallbackReason::none) {
      co_await run_child(parsed.kind, parsed.fetch.deepen_relative);
    }
  }
  co_return std::move(outcome_);
}

io::Task<io::Result<void>> Upload::read_body() {
  const std::uint64_t bytes_max = call_.environment.limits.fetch_request_bytes_max;
  for (;;) {
    const io::Result<std::span<const std::uint8_t>> chunk = co_await call_.body.read();
    if (!chunk) co_return std::unexpected(chunk.error());
    if (chunk->empty()) co_return io::Result<void>{};
    if (body_.size() + chunk->size() > bytes_max) {
      co_return io::fail(io::Errc::limit, "fetch request");
    }
    if (!held_body_.grow(chunk->size())) co_return io::fail(io::Errc::unavailable, "requests held");
    body_.append(io::as_text(*chunk));
  }
}

io::Task<void> Upload::send(std::string bytes) {
  const io::Result<void> sent = co_await call_.answer.write(io::as_bytes(bytes));
  if (!sent) left();
}

io::Task<void> Upload::tell(std::string_view text) {
  co_await send(sent_any_ ? fatal_band(text, call_.request_id)
                          : error_answer(text, call_.request_id));
}

io::Task<void> Upload::refuse(std::string text) {
  outcome_.ended = Ended::refused;
  if (outcome_.detail.empty()) outcome_.detail = text;
  co_await tell(text);
}

io::Task<void> Upload::fail_before_output(std::string text, std::string detail) {
  outcome_.ended = Ended::failed;
  outcome_.detail = std::move(detail);
  co_await tell(text);
}

io::Task<void> Upload::answer_ls_refs(const LsRefsRequest& request) {
  const RefSnapshot& snapshot = *call_.snapshot;
  const io::Result<RenderedBody> body =
      co_await rendered_off_loop(*call_.environment.blocking,
                                 [&](Effort effort) { return snapshot.ls_refs(request, effort); });
  if (!body) {
    co_await fail_before_output(std::string(kBusy), io::to_string(body.error()));
    co_return;
  }
  call_.answer.announce(body->bytes());
  for (const RenderedBody::Part& part : body->parts()) {
    const io::Result<void> sent = co_await call_.answer.write(part.bytes);
    if (!sent) {
      left();
      co_return;
    }
  }
}

const std::string* Upload::unknown_deepen_not(const FetchRequest& fetch) const {
  for (const std::string& name : fetch.deepen_not) {
    if (!names_visible_ref(*call_.snapshot, name)) return &name;
  }
  return nullptr;
}

io::Task<bool> Upload::check_wants(const std::vector<ObjectId>& wants) {
  const RepositoryConfig& config = call_.snapshot->config();
  if (config.allow_any_sha1_in_want) co_return true;  // the repository says that all may be had
  auto filter = [this, &wants] { return not_advertised(call_, wants); };
  std::vector<ObjectId> unknown;
  if (wants.size() <= kWantsOnLoopMax) {
    unknown = filter();
  } else {
    io::Result<std::vector<ObjectId>> ran = co_await call_.environment.blocking->run(filter);
    if (!ran) {
      co_await fail_before_output(std::string(kBusy), io::to_string(ran.error()));
      co_return false;
    }
    unknown = std::move(*ran);
  }
  if (unknown.empty()) co_return true;

  auto collect = [this] { return visible_tips(*call_.snapshot); };
  io::Result<Tips> tips = co_await call_.environment.blocking->run(std::move(collect));
  if (!tips) {
    co_await fail_before_output(std::string(kBusy), io::to_string(tips.error()));
    co_return false;
  }
  ObjectId refused;
  const io::Deadline deadline = io::Deadline::after(io::EventLoop::current().now(),
                                                    call_.environment.limits.want_check_time_max);
  const io::Result<WantVerdict> verdict = co_await call_.environment.workers->check_wants(
      call_.repository, call_.snapshot->format(), std::move(unknown), std::move(tips->ids),
      std::move(tips->digest), config.allow_filter, refused, call_.stop, deadline);
  if (!verdict) {
    if (verdict.error().code == io::Errc::cancelled) {
      left();
    } else {
      co_await fail_before_output("what you asked for could not be checked; try again in a minute",
                                  "check wants: " + io::to_string(verdict.error()));
    }
    co_return false;
  }
  if (*verdict == WantVerdict::allowed) co_return true;
  co_await refuse("upload-pack: not our ref " + refused.to_hex());
  co_return false;
}

io::Task<void> Upload::run_child(RelayKind kind, bool deepen_relative) {
  GitEnvironment& environment = call_.environment;
  io::EventLoop& loop = io::EventLoop::current();
  const io::Instant asked = loop.now();
  io::Result<ProcessSlots::Slot> slot = co_await environment.fetch_slots->acquire(
      call_.stop, io::Deadline::after(asked, environment.limits.slot_wait_max));
  outcome_.slot_wait = loop.now() - asked;
  if (!slot) {
    if (slot.error().code == io::Errc::cancelled) {
      left();
    } else {
      co_await refuse(std::string(kBusy));
    }
    co_return;
  }
  // Version 2 checks no want whatever git is told.
  const bool any_want = call_.protocol_version < 2 && !deepen_relative;
  io::Result<std::unique_ptr<io::Subprocess>> child =
      co_await environment.launcher->spawn(git_command(call_, Service::upload_pack, any_want),
                                           io::Deadline::after(loop.now(), kSpawnTimeMax));
  if (!child) {
    co_await fail_before_output(std::string(kBusy), io::to_string(child.error()));
    co_return;
  }
  io::TaskScope scope;
  io::StopSource over;
  scope.spawn(feed(**child, io::StopToken(over)));
  scope.spawn(stderr_.collect((*child)->stderr_fd(), io::StopToken(over)));
  PktRelay relay_state(kind);
  const End end = co_await relay(**child, relay_state);
  co_await conclude(**child, relay_state, end);
  over.request_stop();
  co_await scope.join();
  if (outcome_.ended != Ended::completed && outcome_.detail.empty()) {
    outcome_.detail = stderr_.text();
  }
}

io::Task<void> Upload::feed(io::Subprocess& child, io::StopToken stop) {
  // A child that reads no more says why in its output or exit code.
  (void)co_await write_pipe(child.stdin_fd(), io::as_bytes(body_), stop);
  child.close_stdin();
}

io::Task<Upload::End> Upload::relay(io::Subprocess& child, PktRelay& state) {
  io::EventLoop& loop = io::EventLoop::current();
  buffer_ = std::make_unique_for_overwrite<std::uint8_t[]>(kHeldBytesMax + kRelayBytes);
  std::uint8_t* const read_to = buffer_.get() + kHeldBytesMax;
  const int fd = child.stdout_fd();
  const GitLimits& limits = call_.environment.limits;
  bool gather = false;
  io::Instant spoke_at = loop.now();
  for (;;) {
    const io::Deadline silence = io::Deadline::after(loop.now(), limits.keepalive);
    const io::Result<std::size_t> got =
        co_await read_pipe(fd, {read_to, kRelayBytes}, call_.stop, silence);
    if (!got) {
      if (got.error().code == io::Errc::cancelled) co_return End::client_gone;
      if (got.error().code != io::Errc::deadline_exceeded) co_return End::broken;
      if (loop.now() - spoke_at >= limits.fetch_silence_max) co_return End::silent;
      if (!state.keepalive_allowed()) continue;
      const io::Result<void> kept = co_await call_.answer.write(io::as_bytes(kKeepalive));
      if (!kept) co_return End::client_gone;
      continue;
    }
    if (*got == 0) co_return End::output_ended;
    std::size_t bytes = *got;
    if (gather && bytes < kGatherBytes) {
      (void)co_await io::sleep_until(io::Deadline::after(loop.now(), kGatherTime), call_.stop);
      bytes += read_pipe_now(fd, {read_to + bytes, kRelayBytes - bytes});
    }
    const std::string_view text(reinterpret_cast<const char*>(read_to), bytes);
    if (!state.follow(text)) co_return End::broken;
    const std::uint8_t* const begin = read_to - held_;
    const std::size_t keep = state.held_bytes();
    const std::size_t ready = held_ + bytes - keep;
    const std::size_t known = std::min(ready, said_.size());
    if (std::memcmp(begin, said_.data(), known) != 0) co_return End::broken;
    said_.erase(0, known);
    if (ready > known) {
      const io::Result<void> sent = co_await call_.answer.write({begin + known, ready - known});
      if (!sent) co_return End::client_gone;
      sent_any_ = true;
      gather = state.in_pack();  // the first bytes of a pack are not made to wait
    }
    std::memmove(read_to - keep, begin + ready, keep);
    held_ = keep;
    spoke_at = loop.now();
  }
}

io::Task<void> Upload::conclude(io::Subprocess& child, const PktRelay& state, End end) {
  if (end != End::output_ended) child.kill(SIGKILL);
  const io::Result<io::ExitStatus> status =
      co_await reap(child, end == End::output_ended ? kExitTimeMax : kKilledExitTimeMax);
  if (status) {
    outcome_.child_cpu_us = status->cpu_us;
    outcome_.child_rss_bytes_max = status->rss_bytes_max;
  }
  if (end == End::client_gone) {
    left();
    co_return;
  }
  const bool whole = end == End::output_ended && state.complete();
  if (whole && state.saw_error()) {
    outcome_.ended = Ended::refused;  // git said why; its exit code is not news
    co_return;
  }
  if (whole && status && status->code == 0) {
    if (held_ > 0) {
      const io::Result<void> sent =
          co_await call_.answer.write({buffer_.get() + kHeldBytesMax - held_, held_});
      if (!sent) left();
    }
    co_return;
  }
  outcome_.ended = Ended::failed;
  outcome_.detail = "git upload-pack " + (status ? "exit " + std::to_string(status->code)
                                                 : io::to_string(status.error()));
  if (end == End::silent) outcome_.detail += " after too long a silence";
  if (const std::string said = stderr_.text(); !said.empty()) outcome_.detail += ": " + said;
  const std::string_view text = "the server could not finish this answer; try again";
  if (!sent_any_) {
    co_await tell(text);  // whole in itself: need not be cut
    co_return;
  }
  // After band 3 no client takes the answer for whole, and the stream ends cleanly: a reset could
  // overtake the message (libcurl drops what it has not yet handed on). Else nothing but the cut
  // tells.
  // (Of broken output `state` has followed more than was sent.)
  if (end != End::broken && state.keepalive_allowed()) {
    co_await send(fatal_band(text, call_.request_id));
  } else {
    outcome_.cut = true;
  }
}

}  // namespace

io::Task<ServiceOutcome> serve_upload_pack(ServiceCall& call) {
  Upload upload(call);
  ServiceOutcome outcome = co_await upload.serve();
  co_return outcome;
}

}  // namespace weir::git
