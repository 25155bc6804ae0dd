#include "git/planner_service.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include "io/file_mapping.h"

namespace weir::git {
namespace {

std::uint64_t cpu_us() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec) / 1000;
}

bool wait_for(int socket, short events) {
  pollfd polled{.fd = socket, .events = events, .revents = 0};
  while (poll(&polled, 1, -1) < 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

bool send(int socket, const PlannerReply& reply) {
  const auto packet = make_packet(encode(reply), {});
  if (!packet) return false;
  for (;;) {
    const auto sent = send_packet(socket, *packet);
    if (sent) return true;
    if (sent.error().code != io::Errc::limit || !wait_for(socket, POLLOUT)) return false;
  }
}

PlanReply fallback(FallbackReason reason, std::string problem) {
  PlanReply reply;
  reply.status = PlanStatus::fallback;
  reply.reason = reason;
  reply.problem = std::move(problem);
  return reply;
}

std::size_t bytes_of(const VisibleTips& tips) {
  return tips.tips.size() * sizeof(ObjectId) + tips.tags.size() * 2 * sizeof(ObjectId);
}

}  // namespace

int PlannerService::serve(int socket) {
  std::vector<std::uint8_t> buffer(kPlannerPacketBytesMax);
  for (;;) {
    auto packet = receive_packet(socket, buffer, kPlannerRequestBytesMax);
    if (!packet && packet.error().code == io::Errc::limit) {
      if (!wait_for(socket, POLLIN)) return 1;
      continue;
    }
    if (!packet) return packet.error().code == io::Errc::closed ? 0 : 1;
    std::vector<io::UniqueFd> descriptors = std::move(packet->descriptors);
    PlannerRequest request;
    {
      const auto body = packet->take_body(kPlannerRequestBytesMax);
      if (!body || !decode(*body, request)) return 1;
    }
    if (auto* const part = std::get_if<OpenView>(&request)) {
      take(std::move(*part), std::move(descriptors));
    } else if (auto* const tips = std::get_if<VisibleTips>(&request)) {
      take(std::move(*tips));
    } else if (const auto* const view = std::get_if<ForgetView>(&request)) {
      forget(view->number);
    } else if (!send(socket, answer(std::get<AskPlan>(request)))) {
      return 0;
    }
  }
}

void PlannerService::take(OpenView part, std::vector<io::UniqueFd> descriptors) {
  const bool goes_on =
      !views_.empty() && views_.front().number == part.number && views_.front().opened == nullptr;
  if (!goes_on) {
    forget(part.number);
    views_.push_front({.number = part.number,
                       .format = part.format,
                       .files_total = part.files_total,
                       .coming = {},
                       .opened = nullptr,
                       .failure = {}});
    if (views_.size() > kPlannerViewsMax) views_.pop_back();
  }
  View& view = views_.front();
  if (view.failure) return;
  const auto fail = [&view](const io::Error& error) {
    view.coming.clear();
    view.failure =
        fallback(error.code == io::Errc::corrupt ? FallbackReason::corrupt : FallbackReason::layout,
                 io::to_string(error));
  };
  for (std::size_t i = 0; i < std::min(part.files.size(), descriptors.size()); ++i) {
    auto mapping = io::FileMapping::open(descriptors[i].get());
    if (!mapping) return fail(mapping.error());
    view.coming.push_back({std::move(part.files[i]), std::move(*mapping)});
  }
  if (view.coming.size() < view.files_total) return;
  auto opened = open_(std::move(view.coming), view.format);
  view.coming.clear();
  if (!opened) return fail(opened.error());
  view.opened = std::move(*opened);
}

void PlannerService::take(VisibleTips tips) {
  std::erase_if(tips_, [&](const VisibleTips& known) { return known.digest == tips.digest; });
  tips_.push_front(std::move(tips));
  std::size_t bytes = 0, count = 0;
  std::erase_if(tips_, [&](const VisibleTips& known) {
    bytes += bytes_of(known);
    return ++count > 1 && (bytes > kTipsBytesMax || count > kPlannerTipsMax);
  });
}

void PlannerService::forget(std::uint64_t number) {
  std::erase_if(views_, [number](const View& view) { return view.number == number; });
}

PlannerReply PlannerService::answer(const AskPlan& ask) {
  PlannerReply reply;
  reply.id = ask.id;
  reply.view = ask.view;
  const auto view = std::ranges::find(views_, ask.view, &View::number);
  const auto tips = std::ranges::find(tips_, ask.tips_digest, &VisibleTips::digest);
  if (view == views_.end() || (view->opened == nullptr && !view->failure)) {
    reply.answer = PlannerAnswer::need_view;
  } else if (tips == tips_.end()) {
    reply.answer = PlannerAnswer::need_tips;
  } else {
    views_.splice(views_.begin(), views_, view);
    tips_.splice(tips_.begin(), tips_, tips);
    const std::uint64_t before = cpu_us();
    reply.plan = view->opened != nullptr ? view->opened->plan(ask.request, *tips) : *view->failure;
    reply.plan.cpu_us = cpu_us() - before;
    if (reply.plan.problem.size() > kPlannerProblemBytesMax) {
      reply.plan.problem.resize(kPlannerProblemBytesMax);
    }
  }
  reply.memory_bytes = memory_bytes_();
  return reply;
}

}  // namespace weir::git
