#include "http/exchange.h"

#include <algorithm>

#include "http/server_connection.h"
#include "io/byte_channel.h"

namespace weir::http {
namespace {

using BodyResult = io::Result<std::span<const std::uint8_t>>;

}  // namespace

io::Task<BodyResult> Exchange::read_body(io::Deadline deadline) {
  io::EventLoop& loop = io::EventLoop::current();
  while (true) {
    // What arrived is handed out even when the client left: a complete push is still carried out.
    if (!body_queue_.empty()) {
      body_current_.clear();
      std::swap(body_current_, body_queue_);
      body_complete_ = body_ended_;
      if (!body_ended_) on_body_wanted();
      co_return io::as_bytes(body_current_);
    }
    if (body_ended_) {
      body_complete_ = true;
      co_return std::span<const std::uint8_t>{};
    }
    if (body_error_) co_return io::fail(*body_error_, "read request body");
    if (gone_ || aborted_) co_return io::fail(io::Errc::closed, "read request body");
    if (head_.expect_continue && !continue_sent_) {
      continue_sent_ = true;
      on_continue_wanted();
    }
    // Only time spent waiting for the client counts: a slow handler never makes a client "slow".
    const io::Instant began = loop.now();
    const io::Deadline slow{began + (kBodyGrace - rate_waited_)};
    const io::Deadline limit{std::min(deadline.at, slow.at)};
    const io::Result<void> woken = co_await body_arrived_.wait(stop(), limit);
    rate_waited_ += loop.now() - began;
    if (rate_waited_ >= kBodyGrace && !rate_kept()) {
      co_return io::fail(io::Errc::deadline_exceeded, "request body is too slow");
    }
    if (!woken && woken.error().code == io::Errc::deadline_exceeded &&
        deadline.passed(loop.now()) && body_queue_.empty() && !body_ended_) {
      co_return io::fail(io::Errc::deadline_exceeded, "read request body");
    }
  }
}

bool Exchange::rate_kept() {
  constexpr std::uint64_t kWindowBytesMin =
      kBodyBytesPerSecondMin * static_cast<std::uint64_t>(kBodyGrace / std::chrono::seconds(1));
  const bool kept = !rate_measured_ || body_bytes_ - rate_bytes_mark_ >= kWindowBytesMin;
  rate_measured_ = true;  // the first window is the grace
  rate_waited_ = io::Duration{};
  rate_bytes_mark_ = body_bytes_;
  return kept;
}

void Exchange::start_response(ResponseHead response, io::WriteFlow flow) {
  WEIR_CHECK(!response_started_);
  response_ = std::move(response);
  flow_ = flow;
  response_started_ = true;
}

io::Task<io::Result<void>> Exchange::write(std::span<const std::uint8_t> bytes) {
  WEIR_CHECK(response_started_ && !response_finished_ && output_.empty());
  if (gone_ || aborted_) co_return io::fail(io::Errc::closed, "write response");
  if (bytes.empty()) co_return io::Result<void>{};
  output_ = bytes;
  output_taken_.reset();
  on_output_ready();
  if (!output_.empty()) {
    const io::Result<void> taken = co_await output_taken_.wait(stop());
    (void)taken;  // why it ended is told by the state
  }
  if (gone_ || aborted_) co_return io::fail(io::Errc::closed, "write response");
  co_return io::Result<void>{};
}

void Exchange::finish() {
  if (gone_ || aborted_ || response_finished_) return;
  if (!response_started_ || !output_.empty()) return abort();
  response_finished_ = true;
  on_output_ready();
}

void Exchange::abort() {
  if (gone_ || aborted_) return;
  aborted_ = true;
  output_ = {};
  output_taken_.notify();
  body_arrived_.notify();
  on_abort();
}

void Exchange::cut() {
  if (gone_ || aborted_ || response_finished_ || released_) return;
  fail_body(io::Errc::closed);
  abort();
  client_gone();
}

void Exchange::release() {
  WEIR_CHECK(!released_);
  if (!response_finished_) abort();
  released_ = true;
  on_released();
}

void Exchange::deliver_body(std::span<const std::uint8_t> bytes) {
  WEIR_CHECK(bytes.size() <= body_room() && !body_ended_);
  if (bytes.empty()) return;
  body_queue_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  body_bytes_ += bytes.size();
  body_arrived_.notify();
}

void Exchange::deliver_body_end() {
  body_ended_ = true;
  body_complete_ = body_queue_.empty();
  body_arrived_.notify();
}

void Exchange::fail_body(io::Errc reason) {
  if (body_ended_ || body_error_) return;
  body_error_ = reason;
  body_arrived_.notify();
}

std::size_t Exchange::body_room() const {
  return kBodyQueueBytesMax - body_queue_.size();
}

void Exchange::client_gone() {
  if (gone_) return;
  gone_ = true;
  output_ = {};
  stop_source_.request_stop();
}

void Exchange::take_output(std::size_t bytes) {
  WEIR_CHECK(bytes <= output_.size());
  output_ = output_.subspan(bytes);
  response_bytes_ += bytes;
  if (output_.empty() && bytes > 0) output_taken_.notify();
}

}  // namespace weir::http
