#pragma once
// Http2AbuseBudget: what one HTTP/2 connection may still waste. Everything cheap to ask and dear to
// serve costs points; ordinary work and time give them back, so that a client that does real work
// never meets the limit. At zero the session says GOAWAY(ENHANCE_YOUR_CALM). Sans-IO: time is
// passed in. Owned by the session; loop thread only.

#include <algorithm>
#include <array>
#include <cstdint>

#include "io/clock.h"

namespace weir::http {

enum class Http2Offence : std::uint8_t {
  reset_before_response,  // the client reset, or made us reset, a stream that had no answer yet
  reset_mid_response,
  refused_stream,   // opened although all slots are taken
  empty_data,       // DATA without bytes and without END_STREAM
  control_frame,    // PING, SETTINGS: each makes us answer
  ignored_frame,    // PRIORITY and unknown types
  window_dribble,   // windows opened by so little that frames become tiny
  header_overrun,   // a header list over its limit
  invalid_request,  // malformed head or frame
};
const char* to_string(Http2Offence offence);
// A connection was ended for it: weir_http2_abuse_total.
void count_abuse(Http2Offence offence);

inline constexpr std::int32_t kAbuseBudgetMax = 1000;
inline constexpr std::int32_t kAbuseRefillPerSecond = 20;
inline constexpr std::int32_t kAbuseRefundCompletion = 10;  // a request answered in full
inline constexpr std::int32_t kAbuseRefundDataFrame = 4;    // a DATA frame not cut by the window
inline constexpr std::array<std::int32_t, 9> kAbuseCosts{10, 5, 20, 5, 15, 5, 2, 100, 25};
// The library's own limits (200 resets, 100 unsent acks) are the backstop: ours must be met first.
static_assert(kAbuseBudgetMax / kAbuseCosts[0] <= 150);
static_assert(kAbuseBudgetMax / kAbuseCosts[4] <= 90);
// Cancelling every second request for ever is still tolerated; cancelling more is not.
static_assert(kAbuseRefundCompletion >= kAbuseCosts[0]);

// A WINDOW_UPDATE or frame smaller than this is a dribble when more could have been sent.
inline constexpr std::size_t kWindowDribbleBytes = 1024;

class Http2AbuseBudget {
 public:
  explicit Http2AbuseBudget(io::Instant now) : refilled_at_(now) {}

  // False: the budget is spent.
  bool charge(Http2Offence offence, io::Instant now);
  void refund(std::int32_t points) { points_ = std::min(points_ + points, kAbuseBudgetMax); }
  std::int32_t points() const { return points_; }

 private:
  std::int32_t points_ = kAbuseBudgetMax;
  io::Instant refilled_at_;
};

}  // namespace weir::http
