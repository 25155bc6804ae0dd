#include "git/worker_protocol.h"

#include <concepts>
#include <cstring>
#include <type_traits>

#include "io/check.h"

namespace weir::git {
namespace {

class Writer {
 public:
  Writer() : out_(kFrameHeaderBytes, '\0') {}
  template <std::unsigned_integral T>
  void operator()(const T& value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      out_.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i)));
    }
  }
  template <typename T>
    requires std::is_enum_v<T>
  void operator()(const T& value) {
    (*this)(static_cast<std::underlying_type_t<T>>(value));
  }
  void operator()(const std::string& text) {
    (*this)(static_cast<std::uint32_t>(text.size()));
    out_ += text;
  }
  void operator()(const ObjectId& id) {
    (*this)(id.bytes);
    out_.append(reinterpret_cast<const char*>(id.hash.data()), id.bytes);
  }
  void operator()(const LooseRef& ref) {
    (*this)(ref.name);
    (*this)(ref.id);
    (*this)(ref.target);
  }
  template <typename T>
  void operator()(const std::vector<T>& list) {
    (*this)(static_cast<std::uint32_t>(list.size()));
    for (const T& item : list) (*this)(item);
  }
  std::string finish() {
    const std::size_t bytes = out_.size() - kFrameHeaderBytes;
    for (std::size_t i = 0; i < kFrameHeaderBytes; ++i) {
      out_[i] = static_cast<char>(bytes >> (8 * i));
    }
    return std::move(out_);
  }

 private:
  std::string out_;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  template <std::unsigned_integral T>
  void operator()(T& value) {
    const std::string_view bytes = take(sizeof(T));
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      sum |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
    }
    if constexpr (std::is_same_v<T, bool>) {
      if (sum > 1) ok_ = false;
      value = sum == 1;
    } else {
      value = static_cast<T>(sum);
    }
  }
  void operator()(ObjectFormat& value) { bounded(value, ObjectFormat::sha256); }
  void operator()(WorkerOperation& value) { bounded(value, WorkerOperation::list_refs); }
  void operator()(WorkerStatus& value) { bounded(value, WorkerStatus::late); }
  void operator()(std::string& text) {
    std::uint32_t bytes = 0;
    (*this)(bytes);
    text = take(bytes);
  }
  void operator()(ObjectId& id) {
    (*this)(id.bytes);
    if (id.bytes != 0 && id.bytes != 20 && id.bytes != 32) ok_ = false;
    const std::string_view bytes = take(ok_ ? id.bytes : 0);
    if (!bytes.empty()) std::memcpy(id.hash.data(), bytes.data(), bytes.size());
  }
  void operator()(LooseRef& ref) {
    (*this)(ref.name);
    (*this)(ref.id);
    (*this)(ref.target);
  }
  template <typename T>
  void operator()(std::vector<T>& list) {
    std::uint32_t count = 0;
    (*this)(count);
    if (count > in_.size()) ok_ = false;  // an item takes a byte at least
    list.clear();
    for (std::uint32_t i = 0; ok_ && i < count; ++i) (*this)(list.emplace_back());
  }
  bool finished() const { return ok_ && in_.empty(); }

 private:
  template <typename T>
  void bounded(T& value, T last) {
    std::uint8_t byte = 0;
    (*this)(byte);
    if (byte > static_cast<std::uint8_t>(last)) {
      ok_ = false;
    } else {
      value = static_cast<T>(byte);
    }
  }
  std::string_view take(std::size_t bytes) {
    if (!ok_ || bytes > in_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = in_.substr(0, bytes);
    in_.remove_prefix(bytes);
    return taken;
  }
  std::string_view in_;
  bool ok_ = true;
};

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

}  // namespace

std::string encode_frame(const WorkerRequest& request) {
  Writer writer;
  request_fields(writer, request);
  return writer.finish();
}

std::string encode_frame(const WorkerReply& reply) {
  Writer writer;
  reply_fields(writer, reply);
  return writer.finish();
}

bool decode(std::string_view body, WorkerRequest& request) {
  Reader reader(body);
  request_fields(reader, request);
  return reader.finished();
}

bool decode(std::string_view body, WorkerReply& reply) {
  Reader reader(body);
  reply_fields(reader, reply);
  return reader.finished();
}

std::optional<std::size_t> frame_body_bytes(std::string_view header) {
  WEIR_CHECK(header.size() == kFrameHeaderBytes);
  std::uint32_t bytes = 0;
  Reader reader(header);
  reader(bytes);
  if (bytes > kWorkerFrameBytesMax) return std::nullopt;
  return bytes;
}

}  // namespace weir::git
