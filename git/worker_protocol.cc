#include "git/worker_protocol.h"

#include <concepts>
#include <type_traits>
#include <utility>

#include "git/message_codec.h"
#include "io/check.h"

namespace weir::git {

static WorkerOperation codec_last(WorkerOperation) {
  return WorkerOperation::list_refs;
}
static WorkerStatus codec_last(WorkerStatus) {
  return WorkerStatus::late;
}
template <typename Codec, typename Ref>
  requires std::same_as<std::remove_const_t<Ref>, LooseRef>
void codec_fields(Codec& codec, Ref& ref) {
  codec(ref.name);
  codec(ref.id);
  codec(ref.target);
}

namespace {

// The fields of each message, in order: the one place that both directions share.
template <typename Codec, typename Config>
void config_fields(Codec& codec, Config& config) {
  codec(config.sha256);
  codec(config.reftable);
  codec(config.bare);
  codec(config.hide_refs_fetch);
  codec(config.hide_refs_push);
  codec(config.http_upload_pack);
  codec(config.http_receive_pack);
  codec(config.allow_filter);
  codec(config.allow_any_sha1_in_want);
  codec(config.advertise_atomic);
  codec(config.advertise_push_options);
  codec(config.prefer_ofs_delta);
  codec(config.has_alternates);
  codec(config.files);
}

template <typename Codec, typename Request>
void request_fields(Codec& codec, Request& request) {
  codec(request.operation);
  codec(request.git_dir);
  codec(request.common_dir);
  codec(request.format);
  codec(request.time_ms_max);
  codec(request.ids);
  codec(request.tips_digest);
  codec(request.has_tips);
  codec(request.tips);
  codec(request.allow_trees_and_blobs);
}

template <typename Codec, typename Reply>
void reply_fields(Codec& codec, Reply& reply) {
  codec(reply.status);
  codec(reply.problem);
  config_fields(codec, reply.config);
  codec(reply.ids);
  codec(reply.refs.head);
  codec(reply.refs.refs);
}

std::string finish(MessageWriter writer) {
  std::string frame = writer.take();
  const std::size_t bytes = frame.size() - kFrameHeaderBytes;
  for (std::size_t i = 0; i < kFrameHeaderBytes; ++i) {
    frame[i] = static_cast<char>(bytes >> (8 * i));
  }
  return frame;
}

}  // namespace

std::string encode_frame(const WorkerRequest& request) {
  MessageWriter writer(kFrameHeaderBytes);
  request_fields(writer, request);
  return finish(std::move(writer));
}

std::string encode_frame(const WorkerReply& reply) {
  MessageWriter writer(kFrameHeaderBytes);
  reply_fields(writer, reply);
  return finish(std::move(writer));
}

bool decode(std::string_view body, WorkerRequest& request) {
  MessageReader reader(body, kPeelIdsMax);
  request_fields(reader, request);
  return reader.finished();
}

bool decode(std::string_view body, WorkerReply& reply) {
  MessageReader reader(body, kPeelIdsMax);
  reply_fields(reader, reply);
  return reader.finished();
}

std::optional<std::size_t> frame_body_bytes(std::string_view header) {
  WEIR_CHECK(header.size() == kFrameHeaderBytes);
  std::uint32_t bytes = 0;
  MessageReader reader(header, 0);
  reader(bytes);
  if (bytes > kWorkerFrameBytesMax) return std::nullopt;
  return bytes;
}

}  // namespace weir::git
