#pragma once
// Exchange: one request and its response, whatever the HTTP version. The session owns it; a handler
// coroutine drives it on the loop thread: read the body, start the response, write, finish. Spans
// passed to write() are borrowed until the awaiter returns, so bodies are never copied above TLS.
// If the client leaves, stop() fires and every awaiter ends with Errc::closed or cancelled. The
// handler calls release() last; only then may the session destroy the Exchange.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "http/message.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/signal.h"
#include "io/stop_token.h"
#include "io/stream.h"
#include "io/task.h"

namespace weir::http {

// Received, not yet read, per exchange.
inline constexpr std::size_t kBodyQueueBytesMax = 256 * 1024;

class Exchange {
 public:
  virtual ~Exchange() = default;

  const RequestHead& head() const { return head_; }
  const io::StreamInfo& peer() const { return *peer_; }
  // Fires when the client is gone or the connection is being torn down.
  io::StopToken stop() { return io::StopToken(stop_source_); }
  io::Instant arrived_at() const { return arrived_at_; }
  // A number unique to the connection within this process: the key of session records.
  std::uint64_t connection_id() const { return connection_id_; }

  // --- request body ---------------------------------------------------------------------------
  // The next bytes as received (content coding not removed), at least 1; empty = complete. Valid
  // until the next call. Sends 100-continue when the client waits for it. Errors: closed (client
  // left mid-body), protocol, limit, deadline_exceeded (slower than the minimum rate).
  io::Task<io::Result<std::span<const std::uint8_t>>> read_body(
      io::Deadline deadline = io::Deadline::never());
  std::uint64_t body_bytes_received() const { return body_bytes_; }

  // --- response -------------------------------------------------------------------------------
  // Once. The head leaves with the first body bytes or finish(). `flow`: for the write scheduler.
  void start_response(ResponseHead response, io::WriteFlow flow);
  // Resumes when every byte of `bytes` has been taken (framed and encrypted).
  io::Task<io::Result<void>> write(std::span<const std::uint8_t> bytes);
  // Ends the response cleanly. The connection is kept if the request body was consumed.
  void finish();
  // Ends it so that the client sees an error: what was taken still leaves, the promised end does
  // not (HTTP/1: the connection ends; HTTP/2: RST_STREAM(INTERNAL_ERROR)).
  void abort();
  // From outside the handler: ends it as abort() does and lets the handler see a client that left.
  void cut();
  std::uint64_t response_bytes() const { return response_bytes_; }

  // The handler's last call: no member may be touched afterwards.
  void release();

 protected:
  // Hooks of the session. None may call back into the handler synchronously.
  virtual void on_body_wanted() = 0;   // queue has room again: read / open the window
  virtual void on_output_ready() = 0;  // head, bytes or the end wait to be taken
  virtual void on_abort() = 0;
  virtual void on_released() = 0;         // may destroy the Exchange
  virtual void on_continue_wanted() = 0;  // send 100 Continue now

  // For sessions: deliver and take.
  void deliver_body(std::span<const std::uint8_t> bytes);  // copies; at most the queue's room
  void deliver_body_end();
  void fail_body(io::Errc reason);
  std::size_t body_room() const;
  void client_gone();  // stops everything
  // All of the request body was received, though perhaps not read yet.
  bool body_ended() const { return body_ended_; }
  // Bytes of the borrowed span still to be taken; take() advances and wakes the writer at the end.
  std::span<const std::uint8_t> output() const { return output_; }
  void take_output(std::size_t bytes);

  RequestHead head_;
  ResponseHead response_;
  io::WriteFlow flow_;
  const io::StreamInfo* peer_ = nullptr;
  io::Instant arrived_at_{};
  std::uint64_t connection_id_ = 0;
  bool response_started_ = false;
  bool response_finished_ = false;  // finish() was called
  bool aborted_ = false;
  bool released_ = false;
  bool gone_ = false;

 private:
  io::StopSource stop_source_;
  std::span<const std::uint8_t> output_;
  io::Signal output_taken_;
  std::string body_queue_;
  std::string body_current_;
  bool body_complete_ = false;  // every byte was received and handed out
  bool body_ended_ = false;     // every byte was received
  bool continue_sent_ = false;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t response_bytes_ = 0;
  std::optional<io::Errc> body_error_;
  io::Signal body_arrived_;

  // The minimum rate: windows of kBodyGrace spent waiting for the client; the first is the grace.
  bool rate_kept();
  bool rate_measured_ = false;
  io::Duration rate_waited_{};
  std::uint64_t rate_bytes_mark_ = 0;
};

// What the server side of a connection does with its requests.
class ExchangeHandler {
 public:
  // A request head has arrived. Spawns the work; must not block. The Exchange lives to release().
  virtual void on_exchange(Exchange& exchange) = 0;
  // Head limits for this request line; called before the fields are parsed (HTTP/1) or counted.
  virtual HeadLimits head_limits(std::string_view method, std::string_view target) = 0;
  // A request was refused below the handler (parse error, limits): for log and metrics.
  virtual void on_refused(const io::StreamInfo& peer, int status, std::string_view reason) = 0;

 protected:
  ~ExchangeHandler() = default;
};

}  // namespace weir::http
