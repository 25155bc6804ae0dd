#include "tests/sim/sim_plans.h"

#include "io/byte_channel.h"
#include "io/digest.h"
#include "io/event_loop.h"
#include "io/signal.h"
#include "tests/sim/script.h"

namespace weir::sim {
namespace {

constexpr std::uint64_t kPlannedBytesMax = 450'000;  // three writes
constexpr auto kLastStatus = static_cast<std::uint64_t>(git::PlanStatus::failed);
constexpr std::size_t kPackHeaderBytes = 12;
constexpr std::size_t kTrailerBytes = 20;

}  // namespace

io::Task<io::Result<git::Planned>> SimPlans::plan(std::shared_ptr<const git::Repository>,
                                                  std::shared_ptr<const git::RefSnapshot>,
                                                  git::PlanRequest, io::StopToken stop,
                                                  io::Deadline deadline) {
  const io::Deadline ready = io::Deadline::after(
      io::EventLoop::current().now(), random_.duration_up_to(random_.one_in(3) ? 15s : 100ms));
  const bool late = deadline.at < ready.at;
  const io::Result<void> slept = co_await io::sleep_until(late ? deadline : ready, stop);
  if (!slept) co_return std::unexpected(slept.error());
  if (late) co_return io::fail(io::Errc::deadline_exceeded, "simulated plan");
  if (random_.one_in(8)) co_return io::fail(io::Errc::limit, "simulated plan");
  auto reply = std::make_shared<git::PlanReply>();
  reply->status = random_.one_in(3) ? static_cast<git::PlanStatus>(random_.between(0, kLastStatus))
                                    : git::PlanStatus::planned;
  if (reply->status == git::PlanStatus::planned) {
    const auto bytes = static_cast<std::size_t>(random_.up_to(kPlannedBytesMax));
    git::RecipeBuilder builder(git::ObjectFormat::sha1);
    builder.add_literal(pattern(0, 0, bytes));
    reply->recipe = builder.finish({.objects = static_cast<std::uint32_t>(bytes)}, std::nullopt);
  }
  co_return git::Planned{std::move(reply), nullptr};
}

bool SimPlans::made(std::string_view pack) {
  if (pack.size() < kPackHeaderBytes + kTrailerBytes) return false;
  const std::string_view trailer = pack.substr(pack.size() - kTrailerBytes);
  pack.remove_suffix(kTrailerBytes);
  const std::string_view body = pack.substr(kPackHeaderBytes);
  std::string header("PACK\0\0\0\2", 8);
  for (const int shift : {24, 16, 8, 0}) header += static_cast<char>(body.size() >> shift);
  return pack.starts_with(header) && body == io::as_text(pattern(0, 0, body.size())) &&
         trailer == io::as_text(io::sha1(pack));
}

}  // namespace weir::sim
