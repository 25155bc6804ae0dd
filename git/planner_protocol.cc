#include "git/planner_protocol.h"

#include <algorithm>
#include <concepts>
#include <type_traits>
#include <utility>

#include "git/message_codec.h"

namespace weir::git {

template <typename Value, typename Plain>
concept Is = std::same_as<std::remove_const_t<Value>, Plain>;

static FileRole codec_last(FileRole) {
  return FileRole::loose_objects;
}
static PlanLevel codec_last(PlanLevel) {
  return PlanLevel::cheapest;
}
static PlanStatus codec_last(PlanStatus) {
  return PlanStatus::failed;
}
static FallbackReason codec_last(FallbackReason) {
  return FallbackReason::planner;
}
static PlannerAnswer codec_last(PlannerAnswer) {
  return PlannerAnswer::need_tips;
}

// Each names all fields of its type: one that is added and forgotten here does not compile.
template <typename Codec, typename... Fields>
void each(Codec& codec, Fields&... fields) {
  (codec(fields), ...);
}

template <typename Codec, Is<RepositoryFile> File>
void codec_fields(Codec& codec, File& file) {
  auto& [role, store, order, name, bytes] = file;
  each(codec, role, store, order, name, bytes);
}

template <typename Codec, Is<ObjectFilter> Filter>
void codec_fields(Codec& codec, Filter& filter) {
  auto& [no_blobs, blob_bytes_limit, tree_depth_limit, types] = filter;
  each(codec, no_blobs, blob_bytes_limit, tree_depth_limit, types);
}

template <typename Codec, Is<PlanRequest> Request>
void codec_fields(Codec& codec, Request& request) {
  auto& [wants, haves, shallows, depth, filter, done, wait_for_done, thin_pack, ofs_delta,
         include_tag, level, time_ms_max] = request;
  each(codec, wants, haves, shallows, depth, filter, done, wait_for_done, thin_pack, ofs_delta,
       include_tag, level, time_ms_max);
}

template <typename Codec, Is<OpenView> View>
void codec_fields(Codec& codec, View& view) {
  auto& [number, format, files_total, files] = view;
  each(codec, number, format, files_total, files);
}

template <typename Codec, Is<VisibleTips> Visible>
void codec_fields(Codec& codec, Visible& visible) {
  auto& [digest, tips, tags] = visible;
  each(codec, digest, tips, tags);
}

template <typename Codec, Is<ForgetView> View>
void codec_fields(Codec& codec, View& view) {
  codec(view.number);
}

template <typename Codec, Is<AskPlan> Ask>
void codec_fields(Codec& codec, Ask& ask) {
  auto& [id, view, tips_digest, request] = ask;
  each(codec, id, view, tips_digest, request);
}

template <typename Codec, Is<PlannerReply> Reply>
void codec_fields(Codec& codec, Reply& reply) {
  auto& [answer, id, view, memory_bytes, plan] = reply;
  // The recipe comes last, in its own form.
  auto& [status, reason, problem, recipe, shallow, unshallow, common, ready, cpu_us] = plan;
  each(codec, answer, id, view, memory_bytes, status, reason, problem, shallow, unshallow, common,
       ready, cpu_us);
}

namespace {

template <std::size_t Kind>
bool decode_kind(std::size_t kind, MessageReader& reader, PlannerRequest& request) {
  if constexpr (Kind < std::variant_size_v<PlannerRequest>) {
    if (kind != Kind) return decode_kind<Kind + 1>(kind, reader, request);
    reader(request.emplace<Kind>());
    return reader.finished();
  }
  return false;
}

// Whether `part` names items of `all`, in their order.
bool is_part(std::span<const ObjectId> part, std::span<const ObjectId> all) {
  for (const ObjectId& id : part) {
    const auto at = std::ranges::find(all, id);
    if (at == all.end()) return false;
    all = all.subspan(static_cast<std::size_t>(at - all.begin()) + 1);
  }
  return true;
}

bool fits(const PlanReply& plan, const PlanRequest& request, ObjectFormat format) {
  const bool moves = request.depth != 0 && request.depth != kWholeHistory;
  return is_part(plan.common, request.haves) && is_part(plan.unshallow, request.shallows) &&
         plan.shallow.size() <= (moves ? kPlanShallowMax : 0) &&
         std::ranges::all_of(
             plan.shallow, [format](const ObjectId& id) { return id.bytes == hash_bytes(format); });
}

bool has_recipe(const PlannerReply& reply) {
  return reply.answer == PlannerAnswer::planned && reply.plan.status == PlanStatus::planned;
}

}  // namespace

std::string encode(const PlannerRequest& request) {
  MessageWriter writer;
  writer(static_cast<std::uint8_t>(request.index()));
  std::visit(writer, request);
  return writer.take();
}

std::string encode(const PlannerReply& reply) {
  MessageWriter writer;
  writer(reply);
  if (has_recipe(reply)) encode_recipe(reply.plan.recipe, writer.bytes());
  return writer.take();
}

bool decode(std::string_view body, PlannerRequest& request) {
  MessageReader reader(body, 0);
  std::uint8_t kind = 0;
  reader(kind);
  return decode_kind<0>(kind, reader, request);
}

io::Result<PlannerReply> decode_reply(std::string_view body, const ExpectedReply& expected) {
  PlannerReply reply;
  MessageReader reader(body, 0);
  reader(reply);
  const std::string_view recipe = reader.rest();
  if (!reader.finished()) {
    return io::fail(io::Errc::protocol, "malformed reply of a planner");
  }
  if (reply.id != expected.id || reply.view != expected.view) {
    return io::fail(io::Errc::protocol, "a planner's reply to something else");
  }
  if (reply.plan.problem.size() > kPlannerProblemBytesMax) {
    return io::fail(io::Errc::protocol, "a planner says too much");
  }
  if (!fits(reply.plan, expected.request, expected.format)) {
    return io::fail(io::Errc::protocol, "a planner names commits that were not asked about");
  }
  if (!has_recipe(reply)) {
    if (!recipe.empty()) return io::fail(io::Errc::protocol, "a recipe without a plan");
    return reply;
  }
  std::vector<std::uint64_t> bytes;
  bytes.reserve(expected.files.size());
  for (const RepositoryFile& file : expected.files) {
    bytes.push_back(file.role == FileRole::pack ? file.bytes : 0);
  }
  auto decoded = decode_recipe(recipe, bytes);
  if (!decoded) return std::unexpected(decoded.error());
  if (decoded->format() != expected.format) {
    return io::fail(io::Errc::protocol, "a recipe of another object format");
  }
  reply.plan.recipe = std::move(*decoded);
  return reply;
}

}  // namespace weir::git
