#pragma once
// Http2Stream: one HTTP/2 stream of a server session and the Exchange on it. It outlives both
// sides: the protocol's stream may be closed (reset) while the handler still works, and the handler
// may have released it while the answer's last frames or the rest of an upload are still under way.
// It goes when both have ended. Owned by its Http2Session; loop thread only. Bounded: the request
// body waits in the Exchange's queue and, beyond it, in `backlog_`, together at most the stream's
// upload window.

#include <array>
#include <cstdint>
#include <string>

#include "http/exchange.h"
#include "http/http2_flow_control.h"
#include "io/intrusive_list.h"

namespace weir::http {

class Http2Session;

struct AllStreams {};
struct FlowWaiters {};

class Http2Stream final : public Exchange,
                          public io::ListNode<AllStreams>,
                          public io::ListNode<FlowWaiters> {
 public:
  Http2Stream(Http2Session& session, std::int32_t id);

 private:
  friend class Http2Session;
  void on_body_wanted() override;
  void on_output_ready() override;
  void on_abort() override;
  void on_released() override;
  void on_continue_wanted() override;

  bool waits_for_flow() const { return io::ListNode<FlowWaiters>::linked(); }
  bool done() const { return !open_ && (released_ || !dispatched_); }

  Http2Session& session_;
  const std::int32_t id_;
  bool open_ = true;         // the protocol's stream is not closed
  bool dispatched_ = false;  // the handler knows it
  bool refused_ = false;     // answered by the session itself
  bool head_submitted_ = false;
  bool end_sent_ = false;      // END_STREAM of the response is out, or surely will be
  bool bodiless_ = false;      // HEAD, 204, 304: bytes written are dropped
  bool upload_ended_ = false;  // END_STREAM received
  std::array<char, 4> status_text_{};
  std::array<char, 20> length_text_{};  // backs content-length while the head waits to be sent

  UploadWindow window_{kStreamWindowBytes};
  UploadAdvance advance_;
  std::string backlog_;  // received while the Exchange's queue was full
  std::uint64_t received_bytes_ = 0;
  std::uint64_t consumed_bytes_ = 0;  // read, and given back to the stream's window
  std::uint64_t swept_bytes_ = 0;     // received_bytes_ at the last sweep
  std::uint64_t discarded_bytes_ = 0;
  std::int64_t probed_bytes_ = 0;  // consumed since the window was last sized
  std::uint64_t sent_bytes_ = 0;
  io::Instant progress_at_{};     // response: when the client last took bytes
  io::Instant rate_from_{};       // request body: start of the current rate window
  std::uint64_t rate_bytes_ = 0;  // received_bytes_ then
};

}  // namespace weir::http
