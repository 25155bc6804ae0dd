// The output half of Http2Session: response heads, DATA frames, write turns.

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "http/http2_session.h"
#include "http/server_connection.h"

namespace weir::http {
namespace {

constexpr std::size_t kResponseFieldsUsual = 24;  // more go to the heap
// Small answers are written at once: they skip the scheduler, which is there for bulk.
constexpr std::size_t kInlineBytesMax = 8 * 1024;
constexpr std::size_t kInlineReserveBytes = 1024;  // head, frame headers, acknowledgements
constexpr std::uint8_t kBorrowed = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;

nghttp2_nv field(std::string_view name, std::string_view value, std::uint8_t flags = kBorrowed) {
  auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), flags};
}

void write_status(std::array<char, 4>& text, int status) {
  std::to_chars(text.data(), text.data() + text.size(), std::clamp(status, 100, 999));
}

}  // namespace

// What nghttp2 asks when it is ready to send DATA of a stream; a function pointer, hence static.
struct Http2BodySource {
  static ssize_t read(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t bytes_max,
                      std::uint32_t* flags, nghttp2_data_source* source, void* user_data) {
    auto& session = *static_cast<Http2Session*>(user_data);
    return session.produce(*static_cast<Http2Stream*>(source->ptr), bytes_max, *flags);
  }
};

void Http2Session::output_ready(Http2Stream& stream) {
  if (!stream.open_ || ended_ || stream_closed_ || stream.end_sent_) {
    // Whatever is written past the end of the answer is dropped.
    stream.take_output(stream.output().size());
    return;
  }
  const Entered entered(*this);
  stream.progress_at_ = now();
  if (!stream.head_submitted_)
    submit_head(stream);
  else
    nghttp2_session_resume_data(session_, stream.id_);
  if (stream.bodiless_) stream.take_output(stream.output().size());
  const std::size_t bytes = stream.output().size() + kInlineReserveBytes;
  if (write_asked_ || in_library_ || !pending_.empty() || bytes > kInlineBytesMax ||
      connection_.stream().room() < bytes) {
    return ask_write(stream.flow_);
  }
  turn_flow_ = stream.flow_;
  make_output(bytes);
}

void Http2Session::submit_head(Http2Stream& stream) {
  const ResponseHead& response = stream.response_;
  const int status = response.status;
  stream.head_submitted_ = true;
  stream.bodiless_ = stream.head_.method == Method::head || status == 204 || status == 304;
  const bool lacking = stream.response_finished_ && stream.output().empty();
  if (lacking && !stream.bodiless_ && response.content_length.value_or(0) > 0) {
    return reset(stream, NGHTTP2_INTERNAL_ERROR);  // promised more than there is
  }
  const bool body = !stream.bodiless_ && !lacking && response.content_length != 0;

  std::array<nghttp2_nv, kResponseFieldsUsual> usual;
  std::vector<nghttp2_nv> many;
  nghttp2_nv* fields = usual.data();
  if (response.fields.size() + 2 > usual.size()) {
    many.resize(response.fields.size() + 2);
    fields = many.data();
  }
  std::size_t count = 0;
  write_status(stream.status_text_, status);
  fields[count++] = field(":status", {stream.status_text_.data(), 3});
  for (const auto& [name, value] : response.fields) {
    // Request ids never repeat: kept out of the compressor's table, which they would flush.
    const bool unique = name == "x-request-id";
    fields[count++] = field(name, value, unique ? kBorrowed | NGHTTP2_NV_FLAG_NO_INDEX : kBorrowed);
  }
  if (response.content_length && status != 204) {
    const auto [end, error] = std::to_chars(stream.length_text_.data(),
                                            stream.length_text_.data() + stream.length_text_.size(),
                                            *response.content_length);
    const auto size = static_cast<std::size_t>(end - stream.length_text_.data());
    fields[count++] = field("content-length", {stream.length_text_.data(), size});
  }
  nghttp2_data_provider provider{};
  provider.source.ptr = &stream;
  provider.read_callback = Http2BodySource::read;
  const int outcome =
      nghttp2_submit_response(session_, stream.id_, fields, count, body ? &provider : nullptr);
  if (outcome != 0) return reset(stream, NGHTTP2_INTERNAL_ERROR);
  if (!body) {
    stream.end_sent_ = true;
    stream.take_output(stream.output().size());
  }
}

void Http2Session::refuse(Http2Stream& stream, HeadRefusal refusal) {
  stream.refused_ = stream.released_ = stream.head_submitted_ = stream.end_sent_ = true;
  --exchanges_;
  stream.rate_from_ = now();
  write_status(stream.status_text_, refusal.status);
  const nghttp2_nv status = field(":status", {stream.status_text_.data(), 3});
  nghttp2_submit_response(session_, stream.id_, &status, 1, nullptr);
  connection_.handler().on_refused(connection_.stream().info(), refusal.status, refusal.reason);
  charge(refusal.status == 431 ? Http2Offence::header_overrun : Http2Offence::invalid_request);
}

void Http2Session::continue_wanted(Http2Stream& stream) {
  if (!stream.open_ || stream.head_submitted_) return;
  const nghttp2_nv status = field(":status", "100");
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream.id_, nullptr, &status, 1, nullptr);
  ask_write_if_wanted();
}

std::int64_t Http2Session::produce(Http2Stream& stream, std::size_t bytes_max,
                                   std::uint32_t& flags) {
  if (stream.flow_.id != turn_flow_.id) {  // its turn is another one
    if (!stream.waits_for_flow()) flow_waiters_.push_back(stream);
    return NGHTTP2_ERR_DEFERRED;
  }
  const std::optional<std::uint64_t> length = stream.response_.content_length;
  const std::span<const std::uint8_t> output = stream.output();
  if (output.empty()) {
    if (!stream.response_finished_) return NGHTTP2_ERR_DEFERRED;
    // Less than promised: the library turns this into RST_STREAM(INTERNAL_ERROR).
    if (length && stream.sent_bytes_ < *length) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    stream.end_sent_ = true;
    flags |= NGHTTP2_DATA_FLAG_EOF;
    return 0;
  }
  std::size_t wanted = std::min(output.size(), kDataPayloadBytesMax);
  if (length) wanted = std::min<std::size_t>(wanted, *length - stream.sent_bytes_);
  const std::size_t room = std::min(connection_.stream().room(), turn_bytes_left_);
  // Rather none than a tiny frame.
  if (room < kFrameHeaderBytes + std::min(wanted, kWindowDribbleBytes)) {
    paused_ = true;
    return NGHTTP2_ERR_PAUSE;
  }
  const std::size_t bytes = std::min({wanted, bytes_max, room - kFrameHeaderBytes});
  if (bytes == bytes_max && bytes < std::min(wanted, kWindowDribbleBytes)) {
    charge(Http2Offence::window_dribble);
  } else if (bytes < bytes_max || bytes >= kWindowDribbleBytes) {
    abuse_.refund(kAbuseRefundDataFrame);
  }
  // The last promised byte carries END_STREAM: a small answer is two frames.
  if (length && stream.sent_bytes_ + bytes == *length) {
    stream.end_sent_ = true;
    flags |= NGHTTP2_DATA_FLAG_EOF;
  }
  flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  return static_cast<std::int64_t>(bytes);
}

bool Http2Session::send_data(Http2Stream& stream, const std::uint8_t* header, std::size_t bytes) {
  io::Stream& out = connection_.stream();
  const std::size_t taken = out.write({header, kFrameHeaderBytes});
  const std::size_t body = bytes == 0 ? 0 : out.write(stream.output().first(bytes));
  if (taken != kFrameHeaderBytes || body != bytes) return false;  // room() was not room
  stream.sent_bytes_ += bytes;
  stream.progress_at_ = now();
  stream.take_output(bytes);
  if (stream.end_sent_) stream.take_output(stream.output().size());
  turn_bytes_left_ -= std::min(turn_bytes_left_, kFrameHeaderBytes + bytes);
  return true;
}

void Http2Session::ask_write(io::WriteFlow flow) {
  if (write_asked_ || ended_ || stream_closed_) return;
  write_asked_ = true;
  turn_flow_ = flow;
  connection_.stream().want_write(flow);
}

void Http2Session::ask_write_if_wanted() {
  if (!write_asked_ && nghttp2_session_want_write(session_) != 0) ask_write({});
}

bool Http2Session::flush_pending() {
  if (pending_.empty()) return true;
  const std::size_t taken = connection_.stream().write(pending_);
  pending_ = pending_.subspan(taken);
  turn_bytes_left_ -= std::min(turn_bytes_left_, taken);
  return pending_.empty();
}

void Http2Session::on_write_turn(std::size_t bytes_max) {
  const Entered entered(*this);
  write_asked_ = false;
  if (ended_ || stream_closed_) return;
  for (Http2Stream* waiter = flow_waiters_.first(); waiter != nullptr;) {
    Http2Stream& stream = *waiter;
    waiter = flow_waiters_.next(stream);
    if (stream.flow_.id != turn_flow_.id) continue;
    stream.io::ListNode<FlowWaiters>::unlink();
    nghttp2_session_resume_data(session_, stream.id_);
  }
  make_output(std::max(bytes_max, kFrameHeaderBytes + kDataPayloadBytesMax));
}

// Frames of turn_flow_, and control frames, for about `bytes_max`.
void Http2Session::make_output(std::size_t bytes_max) {
  turn_bytes_left_ = bytes_max;
  paused_ = false;
  while (flush_pending()) {
    const std::uint8_t* data = nullptr;
    in_library_ = true;
    const ssize_t made = nghttp2_session_mem_send(session_, &data);
    in_library_ = false;
    if (made < 0) return fail_at_once();
    if (made == 0) break;
    pending_ = {data, static_cast<std::size_t>(made)};
  }
  if (!pending_.empty()) {
    ask_write(turn_flow_);
  } else if (!flow_waiters_.empty()) {
    ask_write(flow_waiters_.front().flow_);  // one that goes on under turn_flow_ queues behind it
  } else if (paused_) {
    ask_write(turn_flow_);
  }
  end_if_done();
}

}  // namespace weir::http
