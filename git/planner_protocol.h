#pragma once
// What a loop and its planners say to each other: message bodies, sans-IO (how they travel:
// git/planner_channel.h; how fields are spelled: git/message_codec.h). `open`, `tips` and `forget`
// have no answer; `plan` has one. Both ends are the same binary, but a planner parses hostile
// repositories and may be taken over: its replies are decoded as hostile bytes, anything malformed
// is refused as a whole, and a recipe may name only the packs of the repository that was asked for.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "git/fetch_plan.h"
#include "git/object_id.h"
#include "git/repository_file.h"
#include "io/error.h"

namespace weir::git {

// Views and sets of tips that a planner keeps; least recently used leave.
inline constexpr std::size_t kPlannerViewsMax = 16;
inline constexpr std::size_t kPlannerTipsMax = 16;
inline constexpr std::size_t kPlannerProblemBytesMax = 4096;
// Of a request: tips of ~7 million refs; of a reply: the largest recipe.
inline constexpr std::uint64_t kPlannerRequestBytesMax = 256UL * 1024 * 1024;
inline constexpr std::uint64_t kPlannerReplyBytesMax = kRecipeLiteralBytesMax + 64UL * 1024 * 1024;

// Some of a view's files, in order, each with its descriptor beside the message; the view is there
// when all have come. `number` is RepositoryFiles::number().
struct OpenView {
  std::uint64_t number = 0;
  ObjectFormat format = ObjectFormat::sha1;
  std::uint32_t files_total = 0;
  std::vector<RepositoryFile> files;
};
struct ForgetView {
  std::uint64_t number = 0;
};
struct AskPlan {
  std::uint64_t id = 0;  // the reply names it: one that comes late is not taken for the next
  std::uint64_t view = 0;
  std::string tips_digest;
  PlanRequest request;
};
using PlannerRequest = std::variant<OpenView, VisibleTips, ForgetView, AskPlan>;

enum class PlannerAnswer : std::uint8_t {
  planned,
  need_view,  // ask again after `open`
  need_tips,  // ask again after `tips`
};

struct PlannerReply {
  PlannerAnswer answer = PlannerAnswer::planned;
  std::uint64_t id = 0;
  std::uint64_t view = 0;
  std::uint64_t memory_bytes = 0;  // of the planner, without mapped files
  PlanReply plan;
};

std::string encode(const PlannerRequest& request);
std::string encode(const PlannerReply& reply);
// False: malformed. Bodies that may be large are decoded off the loop.
bool decode(std::string_view body, PlannerRequest& request);
// What was asked for; a recipe's extents must lie in the packs among `files`, those of the view;
// what is common and no longer shallow must be what `request` named, in its order.
struct ExpectedReply {
  std::uint64_t id = 0;
  std::uint64_t view = 0;
  ObjectFormat format = ObjectFormat::sha1;
  std::span<const RepositoryFile> files;
  const PlanRequest& request;
};
io::Result<PlannerReply> decode_reply(std::string_view body, const ExpectedReply& expected);

}  // namespace weir::git
