#pragma once
// Http2Session: HTTP/2 on one server connection, over nghttp2. Output is made only on the Stream's
// write turns and never beyond its room; body bytes go from the handler's span into the Stream
// without a copy. Each response's bytes leave under its own WriteFlow; streams of one flow share a
// turn evenly. Bounded: kHttp2StreamsMax exchanges (a reset stream keeps its place until the
// handler let go), upload windows (http2_flow_control.h), wasted work (http2_abuse.h), heads by
// route. A stream that fails ends with RST_STREAM, never END_STREAM; a connection that fails ends
// with GOAWAY. Loop thread only. See tests/http/http2_session_test.cc.

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "http/http2_abuse.h"
#include "http/http2_flow_control.h"
#include "http/http2_frame_watch.h"
#include "http/http2_request_head.h"
#include "http/http2_stream.h"
#include "http/session.h"
#include "io/timer_wheel.h"

struct nghttp2_session;

namespace weir::http {

class ServerConnection;

inline constexpr std::uint32_t kHttp2StreamsMax = 100;
// Request body read and dropped after a complete answer, so that the client lives to read it.
inline constexpr std::uint64_t kHttp2DiscardBytesMax = 64 * 1024 * 1024;
inline constexpr io::Duration kDrainNoticeDelay = std::chrono::seconds(1);  // > a round trip
// Frame header and payload fill exactly one TLS record.
inline constexpr std::size_t kFrameHeaderBytes = 9;
inline constexpr std::size_t kDataPayloadBytesMax = 16384 - kFrameHeaderBytes;

class Http2Session final : public Session {
 public:
  explicit Http2Session(ServerConnection& connection);
  ~Http2Session() override;

  void on_data(std::span<const std::uint8_t> bytes) override;
  void on_end_of_data() override;
  void on_write_turn(std::size_t bytes_max) override;
  void on_flushed() override {}
  void drain() override;
  void on_stream_closed() override;
  std::size_t exchanges() const override { return exchanges_; }

 private:
  friend class Http2Stream;
  friend struct Http2Callbacks;
  friend struct Http2BodySource;
  // While one lives, finished streams are kept: callers up the stack may still hold them.
  struct Entered {
    explicit Entered(Http2Session& entered) : session(entered) { ++session.entered_; }
    ~Entered() {
      if (--session.entered_ == 0) session.leave();
    }
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;
    Http2Session& session;
  };
  struct SessionTimer : io::Timer {
    Http2Session* session;
  };

  // Protocol events, from the callbacks.
  void stream_opened(std::int32_t id);
  void field_received(std::string_view name, std::string_view value);
  void head_received(Http2Stream& stream, bool body_follows);
  void upload_received(Http2Stream& stream, std::span<const std::uint8_t> bytes);
  void upload_end(Http2Stream& stream);
  void stream_closed(Http2Stream& stream, std::uint32_t error);
  std::int64_t produce(Http2Stream& stream, std::size_t bytes_max, std::uint32_t& flags);
  bool send_data(Http2Stream& stream, const std::uint8_t* header, std::size_t bytes);

  // Exchange hooks.
  void body_wanted(Http2Stream& stream);
  void output_ready(Http2Stream& stream);
  void continue_wanted(Http2Stream& stream);
  void aborted(Http2Stream& stream);
  void released(Http2Stream& stream);
  void reset(Http2Stream& stream, std::uint32_t error);

  void judge(const Http2FrameWatch::Piece& frame);
  void dispatch();
  void submit_head(Http2Stream& stream);
  void refuse(Http2Stream& stream, HeadRefusal refusal);
  void consume(Http2Stream& stream, std::uint64_t bytes);
  void grow_windows(Http2Stream& stream);
  void client_left(Http2Stream& stream, io::Errc body_reason);
  void charge(Http2Offence offence);
  void ask_write(io::WriteFlow flow);
  void ask_write_if_wanted();
  bool flush_pending();
  void make_output(std::size_t bytes_max);
  void end_if_done();
  void fail_connection(std::uint32_t error);  // GOAWAY, then close
  void fail_at_once();                        // the library is out of order
  void input_failed(int library_error);
  void all_left();
  void leave();
  void retire(Http2Stream& stream);
  void watch();
  void sweep();
  void nudge(Http2Stream& stream);
  void sweep_stream(Http2Stream& stream, io::Instant now);
  void second_goaway();
  io::Instant now() const;

  ServerConnection& connection_;
  nghttp2_session* session_ = nullptr;
  Http2RequestHeadBuilder builder_;
  Http2AbuseBudget abuse_;
  Http2FrameWatch frames_;
  UploadWindow window_{kConnectionWindowBytes};
  io::IntrusiveList<Http2Stream, AllStreams> streams_;
  io::IntrusiveList<Http2Stream, FlowWaiters> flow_waiters_;  // have output of another flow
  std::vector<Http2Stream*> arrived_;                         // heads to hand to the handler
  std::vector<Http2Stream*> retired_;                         // to be destroyed on leaving
  std::size_t exchanges_ = 0;                                 // not yet released by their handlers
  std::uint32_t requests_ = 0;
  std::uint32_t settings_received_ = 0;
  std::size_t trailer_bytes_ = 0;
  std::span<const std::uint8_t> pending_;  // made by the library, not yet taken by the Stream
  io::WriteFlow turn_flow_;
  std::size_t turn_bytes_left_ = 0;
  int entered_ = 0;
  bool in_library_ = false;
  bool write_asked_ = false;
  bool paused_ = false;  // a stream has more than this turn may carry
  bool draining_ = false;
  std::int32_t last_stream_id_ = INT32_MAX;  // as the final GOAWAY names it
  bool abusive_ = false;
  bool ending_known_ = false;  // why the connection will end was said or logged
  bool ended_ = false;         // the Stream is being closed by us
  bool stream_closed_ = false;
  io::Instant idle_since_{};
  Http2Stream* head_stream_ = nullptr;  // whose header block is arriving
  SessionTimer watch_timer_;
  SessionTimer drain_timer_;
};

std::unique_ptr<Session> make_http2_session(ServerConnection& connection);

}  // namespace weir::http
