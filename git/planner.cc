#include "git/planner.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <utility>

#include "git/visible_tips.h"
#include "io/fd_ops.h"
#include "io/metrics.h"
#include "io/syscall_filter.h"

namespace weir::git {
namespace {

constexpr io::Duration kExitGrace = std::chrono::seconds(5);
constexpr std::uint64_t kPlannerDescriptorsMax = 1024;  // of a packet; mapped files need none
// A planner with this share of its memory in use is replaced before it fails.
constexpr std::uint64_t kMemoryShareMax = 3, kMemoryShareOf = 4;
// Of refs, of ids in a request: about half a millisecond's work.
constexpr std::size_t kRefsOnLoopMax = 2048, kIdsOnLoopMax = 8192;
constexpr std::size_t kForgottenMax = 64;  // beyond it the planner lets go by itself

struct Counters {
  io::Counter deaths = io::Metrics::instance().counter("weir_planner_deaths_total", "",
                                                       "Planners that died or were killed");
  io::Counter refused = io::Metrics::instance().counter(
      "weir_planner_replies_refused_total", "", "Replies of planners that broke the protocol");
  io::Counter replaced = io::Metrics::instance().counter(
      "weir_planner_replaced_total", "", "Planners replaced for their age or their memory");
};

const Counters& counters() {
  static const Counters instance;
  return instance;
}

template <typename T>
bool use(std::deque<T>& known, const T& item, std::size_t max) {
  const auto at = std::ranges::find(known, item);
  const bool found = at != known.end();
  if (found) known.erase(at);
  known.push_front(item);
  if (known.size() > max) known.pop_back();
  return found;
}

io::Result<TipsPacket> tips_packet(const RefSnapshot& snapshot) {
  VisibleTips tips = visible_to_fetches(snapshot);
  TipsPacket made;
  made.digest = tips.digest;
  auto packet = make_packet(encode(PlannerRequest(std::move(tips))), {});
  if (!packet) return std::unexpected(packet.error());
  made.packet = std::move(*packet);
  return made;
}

}  // namespace

io::Task<io::Result<TipsPacket>> make_tips_packet(io::BlockingPool& blocking,
                                                  std::shared_ptr<const RefSnapshot> snapshot) {
  if (snapshot->size() <= kRefsOnLoopMax) co_return tips_packet(*snapshot);
  auto making = blocking.run([snapshot] { return tips_packet(*snapshot); });
  io::Result<io::Result<TipsPacket>> made = co_await std::move(making);
  if (!made) co_return std::unexpected(made.error());
  co_return std::move(*made);
}

Planner::Planner(io::EventLoop& loop, io::Spawner& launcher, io::BlockingPool& blocking,
                 const PlannerPoolOptions& options)
    : turn(1, kPlansQueuedMax),
      loop_(loop),
      launcher_(launcher),
      blocking_(blocking),
      options_(options),
      buffer_(kPlannerPacketBytesMax) {
  counters();
}

io::Task<io::Result<PlannerReply>> Planner::ask(PlannerQuestion& question, io::StopToken stop,
                                                io::Deadline end) {
  if (child_ != nullptr && child_->exited()) co_await discard();
  if (child_ == nullptr) {
    const auto started = co_await start(end);
    if (!started) co_return std::unexpected(started.error());
  }
  flush_forgotten();
  auto reply = co_await exchange(question, stop, end);
  if (!reply) {
    const io::Errc code = reply.error().code;
    if (code == io::Errc::protocol || code == io::Errc::corrupt) counters().refused.add();
    co_await discard();
    co_return reply;
  }
  const std::uint64_t memory_max = options_.data_bytes_max / kMemoryShareOf * kMemoryShareMax;
  if (++plans_ >= options_.plans_per_planner_max || reply->memory_bytes > memory_max) {
    counters().replaced.add();
    co_await this->end();
  }
  if (stop.stopped()) co_return io::fail(io::Errc::cancelled, "plan");
  co_return reply;
}

io::Task<io::Result<void>> Planner::start(io::Deadline end) {
  io::SubprocessSpec spec;
  spec.argv = {options_.weir_path, "git-planner"};
  spec.env = {"LC_ALL=C"};
  spec.data_bytes_max = io::kSanitized ? 0 : options_.data_bytes_max;
  spec.file_bytes_max = kPlannerReplyBytesMax;
  spec.files_max = kPlannerDescriptorsMax;
  spec.channel = true;
  spec.channel_of_messages = true;
  auto child = co_await launcher_.spawn(std::move(spec), end);
  if (!child) co_return io::fail(io::Errc::unavailable, "start a planner");
  child_ = std::move(*child);
  plans_ = 0;
  views_.clear();
  tips_.clear();
  forgotten_.clear();
  co_return io::Result<void>{};
}

io::Task<void> Planner::discard() {
  if (child_ == nullptr) co_return;
  counters().deaths.add();
  child_->kill(SIGKILL);
  co_await end();
}

io::Task<void> Planner::end() {
  if (child_ == nullptr) co_return;
  child_->close_channel();
  auto ended = co_await child_->wait({}, io::Deadline::after(loop_.now(), kExitGrace));
  if (!ended && ended.error().code == io::Errc::deadline_exceeded) child_->kill(SIGKILL);
  child_.reset();
}

void Planner::kill() {
  if (child_ != nullptr) child_->kill(SIGKILL);
}

void Planner::forget(std::uint64_t view) {
  if (std::erase(views_, view) > 0 && forgotten_.size() < kForgottenMax) {
    forgotten_.push_back(view);
  }
}

void Planner::flush_forgotten() {
  if (child_ == nullptr) return;
  for (const std::uint64_t view : std::exchange(forgotten_, {})) {
    const auto packet = make_packet(encode(PlannerRequest(ForgetView{view})), {});
    // A planner that does not listen lets go of it later.
    if (packet) (void)send_packet(child_->channel_fd(), *packet);
  }
}

io::Task<io::Result<PlannerReply>> Planner::exchange(PlannerQuestion& question, io::StopToken stop,
                                                     io::Deadline end) {
  // Once with what the planner should have, and once for each thing it may have lost.
  for (int round = 0; round < 3; ++round) {
    if (!use(views_, question.files->number(), kPlannerViewsMax)) {
      const auto sent = co_await send_view(*question.files, question.format, end);
      if (!sent) co_return std::unexpected(sent.error());
    }
    if (!use(tips_, question.tips_digest, kPlannerTipsMax)) {
      const auto sent = co_await send_tips(question, end);
      if (!sent) co_return std::unexpected(sent.error());
    }
    question.id = ++last_question_;
    const auto asked = co_await send_question(question, end);
    if (!asked) co_return std::unexpected(asked.error());
    auto reply = co_await receive(question, stop, end);
    if (!reply || reply->answer == PlannerAnswer::planned) co_return reply;
    if (reply->answer == PlannerAnswer::need_view) std::erase(views_, question.files->number());
    if (reply->answer == PlannerAnswer::need_tips) std::erase(tips_, question.tips_digest);
  }
  co_return io::fail(io::Errc::protocol, "a planner asks again and again");
}

io::Task<io::Result<void>> Planner::send_view(const RepositoryFiles& files, ObjectFormat format,
                                              io::Deadline end) {
  const std::span<const RepositoryFile> all = files.files();
  std::size_t at = 0;
  do {
    OpenView part{.number = files.number(),
                  .format = format,
                  .files_total = static_cast<std::uint32_t>(all.size()),
                  .files = {}};
    std::vector<int> descriptors;
    for (; at < all.size() && descriptors.size() < kFilesPerPacketMax; ++at) {
      part.files.push_back(all[at]);
      descriptors.push_back(files.fd(at));
    }
    auto packet = make_packet(encode(PlannerRequest(std::move(part))), descriptors);
    if (!packet) co_return std::unexpected(packet.error());
    const auto sent = co_await send(std::move(*packet), end);
    if (!sent) co_return sent;
  } while (at < all.size());
  co_return io::Result<void>{};
}

io::Task<io::Result<void>> Planner::send_tips(PlannerQuestion& question, io::Deadline end) {
  if (!question.tips) {
    auto made = co_await make_tips_packet(blocking_, question.snapshot);
    if (!made) co_return std::unexpected(made.error());
    question.tips = std::move(made->packet);
  }
  PlannerPacket packet = std::move(*question.tips);
  question.tips.reset();
  co_return co_await send(std::move(packet), end);
}

io::Task<io::Result<void>> Planner::send_question(const PlannerQuestion& question,
                                                  io::Deadline end) {
  const PlanRequest& request = question.request;
  auto make = [&question] {
    AskPlan ask{.id = question.id,
                .view = question.files->number(),
                .tips_digest = question.tips_digest,
                .request = question.request};
    ask.request.time_ms_max = question.time_ms_max;
    return make_packet(encode(PlannerRequest(std::move(ask))), {});
  };
  if (request.wants.size() + request.haves.size() + request.shallows.size() <= kIdsOnLoopMax) {
    auto packet = make();
    if (!packet) co_return std::unexpected(packet.error());
    co_return co_await send(std::move(*packet), end);
  }
  auto making = blocking_.run(std::move(make));
  auto packet = co_await std::move(making);
  if (!packet) co_return std::unexpected(packet.error());
  if (!*packet) co_return std::unexpected(packet->error());
  co_return co_await send(std::move(**packet), end);
}

io::Task<io::Result<void>> Planner::send(PlannerPacket packet, io::Deadline end) {
  const int fd = child_->channel_fd();
  for (;;) {
    const auto sent = send_packet(fd, packet);
    if (sent || sent.error().code != io::Errc::limit) co_return sent;
    const auto writable = co_await io::poll_fd(fd, POLLOUT, {}, end);
    if (!writable) co_return std::unexpected(writable.error());
  }
}

io::Task<io::Result<PlannerReply>> Planner::receive(const PlannerQuestion& question,
                                                    io::StopToken stop, io::Deadline end) {
  const int fd = child_->channel_fd();
  for (;;) {
    auto packet = receive_packet(fd, buffer_, kPlannerReplyBytesMax);
    if (!packet && packet.error().code == io::Errc::limit) {
      auto readable = co_await io::poll_fd(fd, POLLIN, stop, end);
      if (!readable && readable.error().code == io::Errc::cancelled) {
        stop = {};
        end.at = std::min(end.at, loop_.now() + kAbandonedPlanTimeMax);
        continue;
      }
      if (!readable) co_return std::unexpected(readable.error());
      continue;
    }
    if (!packet) co_return std::unexpected(packet.error());
    auto decode = [&packet, &question]() -> io::Result<PlannerReply> {
      const auto body = packet->take_body(kPlannerReplyBytesMax);
      if (!body) return std::unexpected(body.error());
      return decode_reply(*body, {.id = question.id,
                                  .view = question.files->number(),
                                  .format = question.format,
                                  .files = question.files->files(),
                                  .request = question.request});
    };
    const PlanRequest& asked = question.request;
    const bool small = asked.haves.size() + asked.shallows.size() <= kIdsOnLoopMax;
    if (!packet->file.valid() && small) co_return decode();
    auto decoding = blocking_.run(std::move(decode));
    io::Result<io::Result<PlannerReply>> decoded = co_await std::move(decoding);
    if (!decoded) co_return std::unexpected(decoded.error());
    co_return std::move(*decoded);
  }
}

}  // namespace weir::git
