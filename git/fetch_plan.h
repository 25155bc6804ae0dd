#pragma once
// What a planner is asked and what it answers. Plain values; they cross between processes by
// git/planner_protocol.h. Terms: gitprotocol-v2(5) "fetch".

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "git/object_id.h"
#include "git/object_type.h"
#include "git/recipe.h"

namespace weir::git {

// Which objects a partial clone leaves out (gitprotocol-v2(5), git-rev-list(1) --filter). Several
// limits hold together.
struct ObjectFilter {
  bool no_blobs = false;
  std::uint64_t blob_bytes_limit = ~std::uint64_t{0};  // blobs of that many bytes or more stay out
  std::uint64_t tree_depth_limit = ~std::uint64_t{0};  // only depth 0 is planned
  std::uint8_t types = 0;                              // object:type: 1 << ObjectType, or 0 for all

  bool none() const {
    return !no_blobs && blob_bytes_limit == ~std::uint64_t{0} &&
           tree_depth_limit == ~std::uint64_t{0} && types == 0;
  }
  friend bool operator==(const ObjectFilter&, const ObjectFilter&) = default;
};

// How much work a plan may do to make the answer smaller (under load it rises).
enum class PlanLevel : std::uint8_t { best = 0, fast = 1, faster = 2, cheapest = 3 };

inline constexpr std::uint32_t kWholeHistory = 0x7fffffff;  // as a depth

inline constexpr std::size_t kPlanShallowMax = 200'000;  // of an answer; more is git's business

struct PlanRequest {
  std::vector<ObjectId> wants;
  std::vector<ObjectId> haves = {};  // what the client says it has; unknown ones are passed over
  std::vector<ObjectId> shallows = {};
  std::uint32_t depth = 0;  // 0: not asked
  ObjectFilter filter = {};
  bool done = true;            // false: a pack only if the haves say enough (`ready`)
  bool wait_for_done = false;  // with done == false: no pack, however much they say
  bool thin_pack = false;
  bool ofs_delta = false;
  bool include_tag = false;
  PlanLevel level = PlanLevel::best;
  std::uint32_t time_ms_max = 0;
};

// What a visibility class may see: the tips of its refs, and its annotated tags. Sent once a
// planner and digest.
struct VisibleTips {
  std::string digest;  // names this set
  std::vector<ObjectId> tips;
  std::vector<std::pair<ObjectId, ObjectId>> tags;  // tag object, what it peels to
};

enum class PlanStatus : std::uint8_t {
  planned,
  negotiating,  // `common` is all there is to say: the client is to send more haves
  fallback,     // git can answer it: `reason` says why we do not
  missing,      // an object is not in the files: they may be old; else git finds the words
  failed,
};

// Why real git answers. The names are those of the metric's label.
enum class FallbackReason : std::uint8_t {
  none,
  filter,       // tree depth, sparse
  shallow,      // a shallow request that is not planned natively
  negotiation,  // haves
  repository,   // shallow, grafted or promisor repository
  layout,       // too many loose objects, or files we do not read
  corrupt,      // something did not hold together: git may know better, or says so
  budget,       // more objects, bytes or time than one plan may take
  planner,      // no planner could be had, or it failed
};
inline constexpr std::size_t kFallbackReasons = 9;
std::string_view reason_name(FallbackReason reason);

struct PlanReply {
  PlanStatus status = PlanStatus::failed;
  FallbackReason reason = FallbackReason::none;
  std::string problem;  // for logs
  Recipe recipe;
  std::vector<ObjectId> shallow;
  std::vector<ObjectId> unshallow;  // in the order of the request
  std::vector<ObjectId> common;     // which haves count, in their order
  bool ready = false;               // they say enough
  std::uint64_t cpu_us = 0;
};

}  // namespace weir::git
