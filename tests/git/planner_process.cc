// `weir git-planner`, alone: what the tests of the pool start. With WEIR_TEST_PLANNER in its
// environment it is a planner that was taken over, or one that dies at a certain moment.

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "git/planner_channel.h"
#include "git/planner_pool.h"
#include "git/planner_protocol.h"

namespace weir::git {
namespace {

constexpr int kSocket = 3;

void send_raw(std::string_view bytes, std::vector<int> descriptors) {
  const auto* const data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  (void)io::send_message(kSocket, {data, bytes.size()}, descriptors);
}

void send_body(const std::string& body, std::vector<int> descriptors = {}) {
  const auto packet = make_packet(body, descriptors);
  if (packet) (void)send_packet(kSocket, *packet);
}

// A memory file of so many bytes of nothing, sealed in those ways.
int memory_file(off_t bytes, int seals) {
  const int fd = memfd_create("rogue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (ftruncate(fd, bytes) != 0 || fcntl(fd, F_ADD_SEALS, seals) != 0) std::exit(3);
  return fd;
}

PlannerReply planned(const AskPlan& ask, ObjectFormat format, std::uint32_t file,
                     std::uint64_t offset) {
  RecipeBuilder builder(format);
  builder.add_extent(file, offset, 1);
  PlannerReply reply;
  reply.id = ask.id;
  reply.view = ask.view;
  reply.plan.status = PlanStatus::planned;
  reply.plan.recipe = builder.finish({.objects = 1}, std::nullopt);
  return reply;
}

void lie(std::string_view how, const AskPlan& ask) {
  constexpr int kAllSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  const auto send = [&](ObjectFormat format, std::uint32_t file, std::uint64_t offset) {
    send_body(encode(planned(ask, format, file, offset)));
  };
  PlannerReply reply = planned(ask, ObjectFormat::sha1, 0, 12);
  if (how == "hang") pause();
  if (how == "die") std::exit(1);
  if (how == "garbage") send_raw("\5garbage", {});
  if (how == "nothing") send_raw(std::string_view("\0", 1), {});
  if (how == "beyond") send(ObjectFormat::sha1, 0, std::uint64_t{1} << 39);
  if (how == "index") send(ObjectFormat::sha1, 1, 12);
  if (how == "no_file") send(ObjectFormat::sha1, 512, 12);
  if (how == "format") send(ObjectFormat::sha256, 0, 12);
  if (how == "view") {
    ++reply.view;
    send_body(encode(reply));
  }
  if (how == "id") {
    ++reply.id;
    send_body(encode(reply));
  }
  if (how == "sums") {
    std::string body = encode(reply);
    ++body[body.size() - 1];
    send_body(body);
  }
  if (how == "counts") {
    reply.plan.status = PlanStatus::missing;
    std::string body = encode(reply);
    body.replace(32, 4, "\xff\xff\xff\xff");  // of shallow commits
    send_body(body);
  }
  if (how == "talk") {
    reply.plan.problem = std::string(16UL * 1024 * 1024, 'x');
    send_body(encode(reply));
  }
  if (how == "need_view" || how == "need_tips") {
    reply.answer = how == "need_view" ? PlannerAnswer::need_view : PlannerAnswer::need_tips;
    send_body(encode(reply));
  }
  if (how == "unsealed") send_raw("\1", {memory_file(100, F_SEAL_SHRINK)});
  if (how == "huge") send_raw("\1", {memory_file(kPlannerReplyBytesMax, kAllSeals)});
  if (how == "zeros") send_raw("\1", {memory_file(1 << 20, kAllSeals)});
  if (how == "pipe") send_raw("\1", {0});
  if (how == "descriptors") send_body("x", std::vector<int>(kFilesPerPacketMax, 0));
  if (how == "twice") {
    reply.plan.status = PlanStatus::missing;
    send_body(encode(reply));
    send_body(encode(reply));
  }
}

// `die:open` and so on: at the arrival of such a message; else how it lies about plans.
int rogue(std::string_view mode) {
  std::vector<std::uint8_t> buffer(kPlannerPacketBytesMax);
  constexpr std::array<std::string_view, 4> kDeaths = {"die:open", "die:tips", "die:forget",
                                                       "die:plan"};
  if (mode == "die:start") return 1;
  for (;;) {
    auto packet = receive_packet(kSocket, buffer, kPlannerRequestBytesMax);
    if (!packet && packet.error().code == io::Errc::limit) {
      pollfd polled{.fd = kSocket, .events = POLLIN, .revents = 0};
      poll(&polled, 1, -1);
      continue;
    }
    if (!packet) return 0;
    const auto body = packet->take_body(kPlannerRequestBytesMax);
    PlannerRequest request;
    if (!body || !decode(*body, request)) return 2;
    if (mode == kDeaths[request.index()]) return 1;
    if (const auto* const ask = std::get_if<AskPlan>(&request)) lie(mode, *ask);
  }
}

}  // namespace
}  // namespace weir::git

int main(int argc, char** argv) {
  if (argc != 2 || std::string_view(argv[1]) != "git-planner") return 2;
  const char* const mode = std::getenv("WEIR_TEST_PLANNER");
  return mode != nullptr ? weir::git::rogue(mode) : weir::git::planner_main();
}
