#include "http/http2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>

#include "http/http2_callbacks.h"
#include "http/server_connection.h"

namespace weir::http {
namespace {

// How often streams are looked at for lack of progress: an order below the timeouts it enforces.
constexpr io::Duration kSweepInterval = std::chrono::seconds(5);
static_assert(kSweepInterval * 2 <= kHeadTimeout && kSweepInterval * 6 <= io::kStreamStallTimeout);

constexpr std::uint64_t kDiscardRateBytesMin =
    kBodyBytesPerSecondMin * static_cast<std::uint64_t>(kBodyGrace / std::chrono::seconds(1));

}  // namespace

std::unique_ptr<Session> make_http2_session(ServerConnection& connection) {
  return std::make_unique<Http2Session>(connection);
}

Http2Session::Http2Session(ServerConnection& connection)
    : connection_(connection), abuse_(now()), idle_since_(now()) {
  watch_timer_.session = drain_timer_.session = this;
  watch_timer_.on_expire = [](io::Timer& timer) {
    static_cast<SessionTimer&>(timer).session->sweep();
  };
  drain_timer_.on_expire = [](io::Timer& timer) {
    static_cast<SessionTimer&>(timer).session->second_goaway();
  };
  session_ = new_http2_server_session(*this);
  if (session_ == nullptr) {
    fail_at_once();
    return;
  }
  const std::array<nghttp2_settings_entry, 6> settings{{
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 4096},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kHttp2StreamsMax},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(kStreamWindowBytes)},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 16384},
      // The largest any route allows; the route's own limit is counted in builder_.
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
       static_cast<std::uint32_t>(kHeadLimitsMercurial.head_bytes_max)},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  }};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(window_.bytes()));
  connection_.stream().loop().timers().arm(watch_timer_, now() + kIdleTimeoutHttp2);
  ask_write({});
}

Http2Session::~Http2Session() {
  watch_timer_.unlink();
  drain_timer_.unlink();
  nghttp2_session_del(session_);
  while (!streams_.empty()) {
    Http2Stream& stream = streams_.pop_front();
    stream.io::ListNode<FlowWaiters>::unlink();
    delete &stream;
  }
}

io::Instant Http2Session::now() const {
  return connection_.stream().loop().now();
}

void Http2Session::leave() {
  for (Http2Stream* stream : retired_) delete stream;
  retired_.clear();
}

void Http2Session::retire(Http2Stream& stream) {
  stream.io::ListNode<AllStreams>::unlink();
  stream.io::ListNode<FlowWaiters>::unlink();
  if (streams_.empty()) idle_since_ = now();
  retired_.push_back(&stream);
}

// --- input --------------------------------------------------------------------------------------

void Http2Session::on_data(std::span<const std::uint8_t> bytes) {
  const Entered entered(*this);
  if (ended_ || stream_closed_) return;
  in_library_ = true;
  ssize_t taken = 0;
  while (!bytes.empty() && taken >= 0 && !abusive_) {
    const Http2FrameWatch::Piece piece = frames_.next(bytes);
    if (piece.begins) judge(piece);
    taken = nghttp2_session_mem_recv(session_, bytes.data(), piece.bytes);
    bytes = bytes.subspan(piece.bytes);
  }
  in_library_ = false;
  dispatch();
  if (taken < 0 && !abusive_) return input_failed(static_cast<int>(taken));
  ask_write_if_wanted();
  end_if_done();
}

// What the library would ignore and the RFC does not.
void Http2Session::judge(const Http2FrameWatch::Piece& frame) {
  if (frame.type == NGHTTP2_PRIORITY && frame.stream == 0) {
    return fail_connection(NGHTTP2_PROTOCOL_ERROR);
  }
  if (abusive_ || (frame.type != NGHTTP2_DATA && frame.type != NGHTTP2_HEADERS)) return;
  const bool closed = frame.stream % 2 == 1 &&
                      frame.stream <= nghttp2_session_get_last_proc_stream_id(session_) &&
                      nghttp2_session_find_stream(session_, frame.stream) == nullptr;
  if (!closed || frames_.was_reset(frame.stream)) return;
  if (frame.type == NGHTTP2_HEADERS) return fail_connection(NGHTTP2_PROTOCOL_ERROR);
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, frame.stream, NGHTTP2_STREAM_CLOSED);
  charge(Http2Offence::invalid_request);
}

// Handlers run here, not inside the library; a stream reset in the same batch never reaches one.
void Http2Session::dispatch() {
  for (std::size_t i = 0; i < arrived_.size(); ++i) {
    Http2Stream& stream = *arrived_[i];
    if (!stream.open_ || abusive_) continue;
    stream.dispatched_ = true;
    connection_.handler().on_exchange(stream);
  }
  arrived_.clear();
}

void Http2Session::on_end_of_data() {
  const Entered entered(*this);
  if (ended_ || stream_closed_) return;
  ended_ = true;
  const bool busy = exchanges_ > 0;
  all_left();
  if (busy) {
    connection_.stream().abort();
  } else {
    connection_.stream().close_gracefully();
  }
}

void Http2Session::stream_opened(std::int32_t id) {
  watch();
  head_stream_ = nullptr;
  if (id > last_stream_id_) {
    // The GOAWAY that lets the client ask again elsewhere is under way: not to be done twice.
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
    return;
  }
  if (++requests_ == kRequestsPerConnectionMax) drain();
  if (exchanges_ >= kHttp2StreamsMax) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
    return charge(Http2Offence::refused_stream);
  }
  auto* stream = new Http2Stream(*this, id);
  ++exchanges_;
  streams_.push_back(*stream);
  stream->arrived_at_ = stream->progress_at_ = now();
  nghttp2_session_set_stream_user_data(session_, id, stream);
  // All streams alike, interleaved frame by frame, whatever the client's priorities say.
  const nghttp2_extpri even{NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1};
  nghttp2_session_change_extpri_stream_priority(session_, id, &even, 1);
  builder_.reset();
  head_stream_ = stream;
}

void Http2Session::field_received(std::string_view name, std::string_view value) {
  if (builder_.limits_wanted() && !name.starts_with(':')) {
    builder_.set_limits(connection_.handler().head_limits(builder_.method(), builder_.target()));
  }
  builder_.add(name, value);
  if (builder_.far_over_limit()) charge(Http2Offence::header_overrun);
}

void Http2Session::head_received(Http2Stream& stream, bool body_follows) {
  head_stream_ = nullptr;
  stream.peer_ = &connection_.stream().info();
  stream.connection_id_ = connection_.id();
  stream.upload_ended_ = !body_follows;
  if (const auto refusal = builder_.finish(stream.head_, body_follows)) {
    return refuse(stream, *refusal);
  }
  if (!body_follows) stream.deliver_body_end();
  arrived_.push_back(&stream);
}

void Http2Session::upload_received(Http2Stream& stream, std::span<const std::uint8_t> bytes) {
  stream.received_bytes_ += bytes.size();
  if (stream.released_ || stream.aborted_ || stream.gone_) {
    stream.discarded_bytes_ += bytes.size();
    consume(stream, bytes.size());
    if (stream.discarded_bytes_ > kHttp2DiscardBytesMax) reset(stream, NGHTTP2_NO_ERROR);
    return;
  }
  const std::size_t direct =
      stream.backlog_.empty() ? std::min(stream.body_room(), bytes.size()) : 0;
  stream.deliver_body(bytes.first(direct));
  const auto rest = bytes.subspan(direct);
  stream.backlog_.append(reinterpret_cast<const char*>(rest.data()), rest.size());
  if (stream.advance_.take(static_cast<std::int64_t>(bytes.size()))) {
    nghttp2_session_consume_connection(session_, bytes.size());
  }
}

void Http2Session::upload_end(Http2Stream& stream) {
  stream.upload_ended_ = true;
  if (!stream.released_ && stream.backlog_.empty()) stream.deliver_body_end();
}

void Http2Session::body_wanted(Http2Stream& stream) {
  const Entered entered(*this);
  // What the handler has just taken may be sent again.
  const std::uint64_t held = kBodyQueueBytesMax - stream.body_room() + stream.backlog_.size();
  const std::uint64_t taken = stream.received_bytes_ - held - stream.consumed_bytes_;
  if (!stream.backlog_.empty()) {
    const std::size_t moved = std::min(stream.body_room(), stream.backlog_.size());
    stream.deliver_body({reinterpret_cast<const std::uint8_t*>(stream.backlog_.data()), moved});
    stream.backlog_.erase(0, moved);
    if (stream.backlog_.empty()) {
      stream.backlog_ = {};
      if (stream.upload_ended_) stream.deliver_body_end();
    }
  }
  if (!stream.open_ || taken == 0 || stream_closed_) return;
  consume(stream, taken);
  ask_write_if_wanted();
}

void Http2Session::consume(Http2Stream& stream, std::uint64_t bytes) {
  if (bytes == 0) return;
  stream.consumed_bytes_ += bytes;
  const auto settled = stream.advance_.settle(static_cast<std::int64_t>(bytes));
  nghttp2_session_consume_connection(session_, bytes - static_cast<std::uint64_t>(settled));
  if (!stream.open_ || stream.upload_ended_) return;
  nghttp2_session_consume_stream(session_, stream.id_, bytes);
  stream.probed_bytes_ += static_cast<std::int64_t>(bytes);
  if (stream.probed_bytes_ >= stream.window_.bytes() / 2 && !stream.released_) grow_windows(stream);
}

void Http2Session::grow_windows(Http2Stream& stream) {
  stream.probed_bytes_ = 0;
  const std::int64_t target = 2 * bandwidth_delay_bytes(connection_.stream().fd());
  if (!stream.window_.grow(std::min(target, kStreamWindowBytesMax))) return;
  const std::int64_t size = stream.window_.bytes();
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, stream.id_,
                                        static_cast<std::int32_t>(size));
  if (window_.grow(std::min(2 * size, kConnectionWindowBytesMax))) {
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                          static_cast<std::int32_t>(window_.bytes()));
  }
}

// --- ends ---------------------------------------------------------------------------------------

void Http2Session::stream_closed(Http2Stream& stream, std::uint32_t error) {
  stream.open_ = false;
  stream.io::ListNode<FlowWaiters>::unlink();
  if (head_stream_ == &stream) head_stream_ = nullptr;
  // The connection's window must not shrink by what this stream will never read.
  consume(stream, stream.received_bytes_ - stream.consumed_bytes_);
  if (stream.end_sent_ && error == NGHTTP2_NO_ERROR) {
    abuse_.refund(kAbuseRefundCompletion);
  } else if (!stream.end_sent_ && !stream.aborted_) {
    charge(stream.head_submitted_ ? Http2Offence::reset_mid_response
                                  : Http2Offence::reset_before_response);
  }
  if (!stream.dispatched_ && !stream.released_) {
    --exchanges_;
  } else {
    client_left(stream, error == NGHTTP2_PROTOCOL_ERROR ? io::Errc::protocol : io::Errc::closed);
  }
  if (stream.done()) retire(stream);
}

void Http2Session::client_left(Http2Stream& stream, io::Errc body_reason) {
  if (!stream.dispatched_ || stream.released_) return;
  if (!stream.upload_ended_) stream.fail_body(body_reason);
  if (!stream.end_sent_) stream.client_gone();
}

void Http2Session::all_left() {
  for (Http2Stream* stream = streams_.first(); stream != nullptr;) {
    Http2Stream& current = *stream;
    stream = streams_.next(current);
    if (current.open_) client_left(current, io::Errc::closed);
  }
}

void Http2Session::reset(Http2Stream& stream, std::uint32_t error) {
  if (!stream.open_ || ended_ || stream_closed_) return;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id_, error);
  ask_write_if_wanted();
}

void Http2Session::aborted(Http2Stream& stream) {
  const Entered entered(*this);
  reset(stream, NGHTTP2_INTERNAL_ERROR);
}

void Http2Session::released(Http2Stream& stream) {
  {
    const Entered entered(*this);
    --exchanges_;
    if (stream.open_ && !stream_closed_) {
      // The rest of the upload is dropped as it comes.
      stream.backlog_ = {};
      stream.rate_from_ = now();
      stream.rate_bytes_ = stream.received_bytes_;
      consume(stream, stream.received_bytes_ - stream.consumed_bytes_);
      ask_write_if_wanted();
    } else {
      retire(stream);
    }
  }
  if (stream_closed_ && entered_ == 0) connection_.maybe_destroy();
}

void Http2Session::charge(Http2Offence offence) {
  if (abusive_ || abuse_.charge(offence, now())) return;
  abusive_ = true;
  count_abuse(offence);
  connection_.handler().on_refused(connection_.stream().info(), 0, to_string(offence));
  fail_connection(NGHTTP2_ENHANCE_YOUR_CALM);
}

void Http2Session::fail_connection(std::uint32_t error) {
  ending_known_ = true;
  nghttp2_session_terminate_session(session_, error);
  ask_write({});
}

void Http2Session::fail_at_once() {
  if (ended_ || stream_closed_) return;
  ended_ = true;
  all_left();
  connection_.stream().abort();
}

void Http2Session::input_failed(int library_error) {
  // The library no longer speaks after these: the last word is ours.
  const bool flood = library_error == NGHTTP2_ERR_FLOODED ||
                     library_error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS ||
                     library_error == NGHTTP2_ERR_TOO_MANY_SETTINGS;
  const auto error = static_cast<std::uint8_t>(flood ? NGHTTP2_ENHANCE_YOUR_CALM
                                               : library_error == NGHTTP2_ERR_BAD_CLIENT_MAGIC
                                                   ? NGHTTP2_PROTOCOL_ERROR
                                                   : NGHTTP2_INTERNAL_ERROR);
  connection_.handler().on_refused(connection_.stream().info(), 0, nghttp2_strerror(library_error));
  if (flush_pending()) {
    const auto last = static_cast<std::uint32_t>(nghttp2_session_get_last_proc_stream_id(session_));
    const auto byte = [last](int shift) { return static_cast<std::uint8_t>(last >> shift); };
    const std::array<std::uint8_t, 17> goaway{0, 0, 8,        NGHTTP2_GOAWAY, 0,       0,       0,
                                              0, 0, byte(24), byte(16),       byte(8), byte(0), 0,
                                              0, 0, error};
    if (connection_.stream().room() >= goaway.size()) connection_.stream().write(goaway);
  }
  ended_ = true;
  all_left();
  connection_.stream().close_gracefully();
}

void Http2Session::end_if_done() {
  if (ended_ || stream_closed_ || !pending_.empty()) return;
  if (nghttp2_session_want_read(session_) != 0 || nghttp2_session_want_write(session_) != 0) return;
  if (!ending_known_) {
    connection_.handler().on_refused(connection_.stream().info(), 0, "HTTP/2 protocol error");
  }
  ended_ = true;
  all_left();
  connection_.stream().close_gracefully();
}

void Http2Session::drain() {
  if (draining_ || ended_ || stream_closed_) return;
  draining_ = ending_known_ = true;
  // First "stop opening streams", then, when those under way have arrived, which was the last.
  nghttp2_submit_shutdown_notice(session_);
  connection_.stream().loop().timers().arm(drain_timer_, now() + kDrainNoticeDelay);
  ask_write_if_wanted();
}

void Http2Session::second_goaway() {
  const Entered entered(*this);
  if (ended_ || stream_closed_) return;
  last_stream_id_ = nghttp2_session_get_last_proc_stream_id(session_);
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last_stream_id_, NGHTTP2_NO_ERROR, nullptr, 0);
  ask_write_if_wanted();
}

void Http2Session::on_stream_closed() {
  const Entered entered(*this);
  stream_closed_ = true;
  watch_timer_.unlink();
  drain_timer_.unlink();
  for (Http2Stream* stream = streams_.first(); stream != nullptr;) {
    Http2Stream& current = *stream;
    stream = streams_.next(current);
    if (!current.open_) continue;
    current.open_ = false;
    if (!current.dispatched_ && !current.released_) --exchanges_;
    client_left(current, io::Errc::closed);
    if (current.done()) retire(current);
  }
}

// --- time ---------------------------------------------------------------------------------------

void Http2Session::watch() {
  const io::Instant next = now() + kSweepInterval;
  if (watch_timer_.armed() && watch_timer_.expires_at <= next) return;
  connection_.stream().loop().timers().arm(watch_timer_, next);
}

void Http2Session::sweep() {
  const Entered entered(*this);
  if (ended_ || stream_closed_) return;
  const io::Instant time = now();
  if (head_stream_ != nullptr && time - head_stream_->arrived_at_ >= kHeadTimeout) {
    connection_.handler().on_refused(connection_.stream().info(), 408, "request head too slow");
    fail_connection(NGHTTP2_ENHANCE_YOUR_CALM);
  }
  for (Http2Stream* stream = streams_.first(); stream != nullptr;) {
    Http2Stream& current = *stream;
    stream = streams_.next(current);
    sweep_stream(current, time);
  }
  if (!streams_.empty()) return watch();
  const io::Instant idle_end = idle_since_ + kIdleTimeoutHttp2;
  if (time >= idle_end) return fail_connection(NGHTTP2_NO_ERROR);
  connection_.stream().loop().timers().arm(watch_timer_, idle_end);
}

// libcurl 7.88 keeps the end of an upload in its own buffer if the socket was full at that
// moment, and sends it only when it hears from us.
void Http2Session::nudge(Http2Stream& stream) {
  const bool all_read = stream.consumed_bytes_ == stream.received_bytes_;
  const bool silent = stream.received_bytes_ == stream.swept_bytes_;
  stream.swept_bytes_ = stream.received_bytes_;
  if (stream.upload_ended_ || stream.received_bytes_ == 0 || !all_read || !silent) return;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  ask_write_if_wanted();
}

void Http2Session::sweep_stream(Http2Stream& stream, io::Instant time) {
  if (!stream.open_) return;
  const bool output_waits =
      !stream.output().empty() || (stream.response_finished_ && !stream.end_sent_);
  if (output_waits && time - stream.progress_at_ >= io::kStreamStallTimeout) {
    client_left(stream, io::Errc::closed);
    return reset(stream, NGHTTP2_CANCEL);
  }
  nudge(stream);
  // While a handler reads, it watches the upload's rate; what is dropped is watched here.
  if (!stream.released_ || stream.upload_ended_ || time - stream.rate_from_ < kBodyGrace) return;
  if (stream.received_bytes_ - stream.rate_bytes_ < kDiscardRateBytesMin) {
    return reset(stream, NGHTTP2_NO_ERROR);
  }
  stream.rate_from_ = time;
  stream.rate_bytes_ = stream.received_bytes_;
}

}  // namespace weir::http
