#include "http/http1_session.h"

#include <algorithm>

#include "http/http_date.h"
#include "http/server_connection.h"
#include "io/byte_channel.h"
#include "io/check.h"

namespace weir::http {
namespace {

constexpr std::size_t kSpareStorageBytesMax = 2 * 1024;  // what an idle connection may keep
constexpr std::size_t kSpareFieldsMax = 32;
constexpr std::size_t kReadBytes = 16 * 1024;  // the most one read brings

}  // namespace

Http1Session::RequestExchange::RequestExchange(Http1Session& session, io::Instant now)
    : session_(session) {
  peer_ = &session.connection_.stream().info();
  connection_id_ = session.connection_.id();
  arrived_at_ = now;
  head_.storage.swap(session.spare_storage_);
  head_.fields.swap(session.spare_fields_);
}

Http1Session::Http1Session(ServerConnection& connection) : connection_(connection) {
  timer_.session = this;
  timer_.on_expire = [](io::Timer& timer) { static_cast<PhaseTimer&>(timer).session->expired(); };
  arm(kIdleTimeoutHttp1);
}

Http1Session::~Http1Session() {
  WEIR_CHECK(!running_);
  timer_.unlink();
}

void Http1Session::arm(io::Duration after) {
  io::EventLoop& loop = connection_.stream().loop();
  loop.timers().arm(timer_, loop.now() + after);
}

// --- input
// ----------------------------------------------------------------------------------------

void Http1Session::on_data(std::span<const std::uint8_t> bytes) {
  if (phase_ == Phase::closing || phase_ == Phase::broken) return;
  requests_this_turn_ = 0;
  if (inbox_.empty()) {
    consume(bytes);
  }
  if (!bytes.empty() && phase_ != Phase::closing && phase_ != Phase::broken) {
    const bool waited = !inbox_.empty();
    inbox_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (waited) return pump();
  }
  after_input();
}

// Goes on with what waits in the inbox: room has come up or the next request's turn.
void Http1Session::pump() {
  if (consuming_) return;  // the consumer below us goes on by itself
  if (!inbox_.empty()) {
    std::span<const std::uint8_t> input = io::as_bytes(inbox_);
    consume(input);
    inbox_.erase(0, inbox_.size() - input.size());
    if (inbox_.empty() && inbox_.capacity() > kSpareStorageBytesMax) inbox_ = std::string();
  }
  after_input();
}

void Http1Session::consume(std::span<const std::uint8_t>& input) {
  consuming_ = true;
  while (!input.empty() && step(input)) {
  }
  consuming_ = false;
  if (phase_ == Phase::closing || phase_ == Phase::broken) input = {};
}

bool Http1Session::step(std::span<const std::uint8_t>& input) {
  switch (phase_) {
    case Phase::head:
      return step_head(input);
    case Phase::body:
    case Phase::discard:
      return step_body(input);
    case Phase::wait:
    case Phase::broken:
    case Phase::closing:
      break;
  }
  return false;
}

bool Http1Session::step_head(std::span<const std::uint8_t>& input) {
  if (requests_this_turn_ >= kPipelinedPerTurnMax) {
    connection_.stream().want_write({});  // on_write_turn() goes on
    return false;
  }
  const bool fresh = !exchange_;
  if (fresh) {
    exchange_.emplace(*this, connection_.stream().loop().now());
    parser_.begin(exchange_->head_);
  }
  Http1Parser::Status status = parser_.feed(input);
  if (status == Http1Parser::Status::request_line) {
    const RequestHead& head = exchange_->head();
    parser_.set_limits(connection_.handler().head_limits(head.method_text, head.target));
    status = parser_.feed(input);
  }
  switch (status) {
    case Http1Parser::Status::complete:
      begin_exchange();
      return true;
    case Http1Parser::Status::error:
      refuse(parser_.error().status, parser_.error().reason);
      return false;
    case Http1Parser::Status::request_line:
    case Http1Parser::Status::need_more:
      if (fresh) arm(kHeadTimeout);
      return true;
  }
  return false;
}

void Http1Session::begin_exchange() {
  timer_.unlink();
  ++requests_;
  ++requests_this_turn_;
  const RequestHead& head = exchange_->head();
  decoder_ = ChunkedDecoder();
  chunked_in_ = parser_.chunked();
  continue_sent_ = false;
  body_left_ = head.content_length.value_or(0);
  discarded_ = 0;
  discard_mark_ = 0;
  head_made_ = false;
  response_done_ = false;
  chunk_open_ = false;
  last_chunk_made_ = false;
  framing_ = BodyFraming::none;
  close_after_ = !parser_.keep_alive() || requests_ >= kRequestsPerConnectionMax;
  running_ = true;
  if (head.has_body) {
    phase_ = Phase::body;
  } else {
    phase_ = Phase::wait;
    exchange_->deliver_body_end();
  }
  connection_.handler().on_exchange(*exchange_);  // may release it before it returns
}

bool Http1Session::step_body(std::span<const std::uint8_t>& input) {
  const bool discarding = phase_ == Phase::discard;
  const std::size_t room = discarding ? kReadBytes : exchange_->body_room();
  if (room == 0) return false;
  std::span<const std::uint8_t> data;
  bool ended = false;
  if (chunked_in_) {
    const ChunkedDecoder::Status status = decoder_.decode(input, room, data);
    if (status == ChunkedDecoder::Status::error) {
      body_malformed();
      return false;
    }
    ended = status == ChunkedDecoder::Status::complete;
  } else {
    data = input.first(
        static_cast<std::size_t>(std::min<std::uint64_t>({input.size(), room, body_left_})));
    input = input.subspan(data.size());
    body_left_ -= data.size();
    ended = body_left_ == 0;
  }
  if (discarding) {
    discarded_ += data.size();
    if (discarded_ > kDiscardBytesMax) {
      close();
      return false;
    }
  } else {
    exchange_->deliver_body(data);
  }
  if (ended) body_ended();
  return true;
}

void Http1Session::body_ended() {
  if (phase_ == Phase::body) {
    phase_ = Phase::wait;
    exchange_->deliver_body_end();
    return;
  }
  phase_ = Phase::wait;
  timer_.unlink();
  settle();
}

void Http1Session::body_malformed() {
  if (phase_ == Phase::discard) {
    phase_ = Phase::wait;
    close_after_ = true;
    settle();
    return;
  }
  phase_ = Phase::broken;
  close_after_ = true;
  inbox_.clear();
  exchange_->fail_body(io::Errc::protocol);
}

// Keeps reading, so that a client that leaves is noticed, until a bound is reached.
void Http1Session::after_input() {
  if (phase_ == Phase::closing) return;
  if (end_of_data_ &&
      (phase_ == Phase::body || phase_ == Phase::head || phase_ == Phase::discard)) {
    if (requests_this_turn_ >= kPipelinedPerTurnMax && !inbox_.empty()) return;  // more to answer
    if (phase_ == Phase::body && exchange_->body_room() == 0) return;            // more to deliver
    if (phase_ != Phase::body) return close();
    exchange_->fail_body(io::Errc::closed);  // the rest will never come
    exchange_->client_gone();
    return cut();
  }
  const bool full = inbox_.size() >= kInboxBytesMax ||
                    (phase_ == Phase::body && exchange_->body_room() < kReadBytes);
  io::Stream& stream = connection_.stream();
  if (full && !stream.reading_paused()) stream.pause_reading();
  if (!full && stream.reading_paused()) stream.resume_reading();
  if (end_of_data_ && running_ && phase_ != Phase::body && !timer_.armed()) {
    half_close_mark_ = stream.bytes_sent();
    arm(kHalfCloseGrace);
  }
}

void Http1Session::on_end_of_data() {
  if (phase_ == Phase::closing || end_of_data_) return;
  end_of_data_ = true;
  after_input();
}

void Http1Session::check_half_closed() {
  const std::uint64_t sent = connection_.stream().bytes_sent();
  if (sent != half_close_mark_) {
    half_close_mark_ = sent;
    return arm(kHalfCloseGrace);
  }
  exchange_->client_gone();
  cut();
}

// --- output
// ---------------------------------------------------------------------------------------

void Http1Session::output_ready() {
  if (phase_ == Phase::closing) return;
  io::Stream& stream = connection_.stream();
  // A small answer leaves in this turn's send; bulk takes its turn among the flows.
  const bool small = exchange_->output().size() <= kInlineBytesMax;
  if (small && stream.output_pending() < kInlineBytesMax) return send(kInlineBytesMax);
  stream.want_write(exchange_->flow_);
}

void Http1Session::on_write_turn(std::size_t bytes_max) {
  requests_this_turn_ = 0;
  send(bytes_max);
  if (phase_ == Phase::closing) return;
  settle();
  pump();
}

// The stream packs framing and body into full records and takes bulk from the handler's span.
void Http1Session::send(std::size_t bytes_max) {
  io::Stream& stream = connection_.stream();
  while (!close_started_) {
    add_framing();
    if (!pending_.empty()) {
      pending_.erase(0, stream.write(io::as_bytes(pending_)));
      if (!pending_.empty()) break;
      continue;
    }
    const std::span<const std::uint8_t> body = body_to_send();
    const std::size_t taken = stream.write(body.first(std::min(body.size(), bytes_max)));
    if (taken == 0) break;
    bytes_max -= taken;
    body_taken(taken);
  }
  check_response_done();
}

void Http1Session::check_response_done() {
  const bool waiting = exchange_ && !response_done_ && head_made_ && !exchange_->output().empty();
  if (!pending_.empty() || waiting) {
    connection_.stream().want_write(exchange_ ? exchange_->flow_ : io::WriteFlow{});
    return;
  }
  if (phase_ == Phase::closing) {
    if (!close_started_) connection_.stream().close_gracefully();
    close_started_ = true;
    return;
  }
  if (!exchange_ || response_done_ || !exchange_->response_finished_) return;
  if (framing_ == BodyFraming::length && body_out_left_ > 0) return exchange_->abort();
  response_done_ = true;
}

void Http1Session::add_framing() {
  if (phase_ == Phase::closing || !exchange_ || response_done_ || !exchange_->response_started_) {
    return;
  }
  const bool output = !exchange_->output().empty();
  const bool finished = exchange_->response_finished_;
  if (!head_made_) {
    if (!output && !finished) return;
    make_head();
  }
  if (framing_ != BodyFraming::chunked) return;
  if (chunk_open_ && body_out_left_ == 0) {
    pending_.append("\r\n");
    chunk_open_ = false;
  }
  if (!chunk_open_ && output) {
    body_out_left_ = exchange_->output().size();
    char digits[16];
    std::size_t at = sizeof digits;
    for (std::uint64_t left = body_out_left_; left > 0; left >>= 4) {
      digits[--at] = "0123456789abcdef"[left & 15];
    }
    pending_.append(digits + at, sizeof digits - at).append("\r\n");
    chunk_open_ = true;
  }
  if (!chunk_open_ && finished && !last_chunk_made_) {
    pending_.append("0\r\n\r\n");
    last_chunk_made_ = true;
  }
}

void Http1Session::make_head() {
  const ResponseHead& response = exchange_->response_;
  const RequestHead& request = exchange_->head();
  const bool bodyless = request.method == Method::head || response.status == 204 ||
                        response.status == 304 || response.status < 200;
  Http1Framing framing;
  if (response.status >= 200 && response.status != 204 && response.status != 304) {
    framing.content_length = response.content_length;
  }
  if (!bodyless) {
    framing.body = response.content_length              ? BodyFraming::length
                   : request.version == Version::http11 ? BodyFraming::chunked
                                                        : BodyFraming::until_close;
  }
  if (framing.body == BodyFraming::until_close || !may_keep_alive()) close_after_ = true;
  framing.close = close_after_;
  framing.tell_keep_alive = request.version == Version::http10;
  append_response_head(pending_, response, framing,
                       http_date(connection_.stream().loop().clock().unix_ns()));
  framing_ = framing.body;
  body_out_left_ = framing_ == BodyFraming::length ? *response.content_length : 0;
  head_made_ = true;
}

bool Http1Session::may_keep_alive() const {
  if (draining_ || phase_ == Phase::broken) return false;
  if (end_of_data_ && inbox_.empty()) return false;
  if (phase_ != Phase::body && phase_ != Phase::discard) return true;
  // The answer comes before the body's end. A client told to go on waiting for "100 Continue" may
  // never send it, and one that is refused should stop sending.
  if (body_awaits_continue()) return false;
  const bool little = !chunked_in_ && body_left_ <= kDiscardBytesReuseMax;
  return exchange_->response_.status < 400 || little;
}

bool Http1Session::body_awaits_continue() const {
  return exchange_->head().expect_continue && !continue_sent_ &&
         exchange_->body_bytes_received() == 0;
}

std::span<const std::uint8_t> Http1Session::body_to_send() {
  if (phase_ == Phase::closing || !exchange_ || !head_made_ || response_done_) return {};
  const std::span<const std::uint8_t> output = exchange_->output();
  switch (framing_) {
    case BodyFraming::none:
      exchange_->take_output(output.size());
      return {};
    case BodyFraming::until_close:
      return output;
    case BodyFraming::length:
      if (output.size() > body_out_left_) {  // more than was promised: nothing good can follow
        exchange_->abort();
        return {};
      }
      return output;
    case BodyFraming::chunked:
      return output.first(
          static_cast<std::size_t>(std::min<std::uint64_t>(output.size(), body_out_left_)));
  }
  return {};
}

void Http1Session::body_taken(std::size_t bytes) {
  if (framing_ == BodyFraming::length || framing_ == BodyFraming::chunked) body_out_left_ -= bytes;
  exchange_->take_output(bytes);
}

void Http1Session::send_continue() {
  if (phase_ != Phase::body || continue_sent_ || head_made_) return;
  continue_sent_ = true;
  pending_.append("HTTP/1.1 100 Continue\r\n\r\n");
  send(kInlineBytesMax);
}

// --- the course of the connection
// -----------------------------------------------------------------

void Http1Session::released() {
  running_ = false;
  if (stream_closed_) {
    exchange_.reset();
    connection_.maybe_destroy();  // destroys this
    return;
  }
  if (phase_ == Phase::closing) return exchange_.reset();
  if (phase_ == Phase::body) {
    phase_ = body_awaits_continue() ? Phase::broken : Phase::discard;
    arm(kDiscardTimeout);
  }
  settle();
  pump();
}

// The next request comes when the response has gone out, the handler let go and the body is read.
void Http1Session::settle() {
  if (running_ || !response_done_ || phase_ == Phase::closing) return;
  close_after_ = close_after_ || draining_;
  if (phase_ == Phase::head) return;
  retire_exchange();
  if (phase_ == Phase::discard) return;
  if (close_after_ || phase_ == Phase::broken) return close();
  phase_ = Phase::head;
  arm(kIdleTimeoutHttp1);
}

void Http1Session::retire_exchange() {
  if (!exchange_) return;
  std::string& storage = exchange_->head_.storage;
  std::vector<Field>& fields = exchange_->head_.fields;
  if (storage.capacity() <= kSpareStorageBytesMax) spare_storage_.swap(storage);
  if (fields.capacity() <= kSpareFieldsMax) spare_fields_.swap(fields);
  exchange_.reset();
}

void Http1Session::refuse(int status, std::string_view reason) {
  connection_.handler().on_refused(connection_.stream().info(), status, reason);
  exchange_.reset();
  ResponseHead response;
  response.status = status;
  response.fields.emplace_back("content-type", "text/plain; charset=utf-8");
  Http1Framing framing;
  std::string body = "weir: ";
  body.append(reason).append("\n");
  framing.content_length = body.size();
  framing.close = true;
  append_response_head(pending_, response, framing,
                       http_date(connection_.stream().loop().clock().unix_ns()));
  pending_.append(body);
  close();
}

void Http1Session::close() {
  phase_ = Phase::closing;
  timer_.unlink();
  inbox_.clear();
  if (!running_) exchange_.reset();
  // The stream reads on by itself while it lingers.
  if (connection_.stream().reading_paused()) connection_.stream().resume_reading();
  send(kInlineBytesMax);
}

// What the handler wrote still goes out; the end that the framing promised does not.
void Http1Session::aborted() {
  if (phase_ == Phase::closing) return;
  if (head_made_ && framing_ == BodyFraming::until_close) return cut();
  close();
}

// At once and without TLS's close_notify: where the end of the connection ends the body, nothing
// else tells the truth.
void Http1Session::cut() {
  phase_ = Phase::closing;
  close_started_ = true;
  timer_.unlink();
  inbox_.clear();
  pending_.clear();
  connection_.stream().abort();
}

void Http1Session::drain() {
  // The next answer says close. An idle connection is not cut: its client may be between two
  // requests of one operation and would take a close for a failure. Whoever drains cuts what stays.
  draining_ = true;
}

void Http1Session::on_stream_closed() {
  stream_closed_ = true;
  phase_ = Phase::closing;
  close_started_ = true;
  timer_.unlink();
  inbox_.clear();
  pending_.clear();
  if (running_) {
    exchange_->fail_body(io::Errc::closed);
    exchange_->client_gone();
  } else {
    exchange_.reset();
  }
}

void Http1Session::expired() {
  if (end_of_data_ && running_) return check_half_closed();
  if (phase_ == Phase::discard && discarded_ - discard_mark_ >= kDiscardProgressBytesMin) {
    discard_mark_ = discarded_;
    return arm(kDiscardTimeout);
  }
  if (phase_ == Phase::head && exchange_) return refuse(408, "the request head took too long");
  close();
}

}  // namespace weir::http
