#include "http/http2_abuse.h"

#include <string>

#include "io/metrics.h"

namespace weir::http {

const char* to_string(Http2Offence offence) {
  switch (offence) {
    case Http2Offence::reset_before_response:
      return "streams reset before their answer";
    case Http2Offence::reset_mid_response:
      return "streams reset during their answer";
    case Http2Offence::refused_stream:
      return "streams beyond the limit";
    case Http2Offence::empty_data:
      return "empty DATA frames";
    case Http2Offence::control_frame:
      return "PING or SETTINGS flood";
    case Http2Offence::ignored_frame:
      return "PRIORITY or unknown frames";
    case Http2Offence::window_dribble:
      return "window dribbling";
    case Http2Offence::header_overrun:
      return "header list over its limit";
    case Http2Offence::invalid_request:
      return "malformed requests";
  }
  return "";
}

void count_abuse(Http2Offence offence) {
  using Counters = std::array<io::Counter, kAbuseCosts.size()>;
  static const Counters counters = [] {
    Counters made;
    for (std::size_t i = 0; i < made.size(); ++i) {
      const std::string label =
          std::string("offence=\"") + to_string(static_cast<Http2Offence>(i)) + '"';
      made[i] = io::Metrics::instance().counter("weir_http2_abuse_total", label,
                                                "HTTP/2 connections ended for abuse, by the last "
                                                "offence.");
    }
    return made;
  }();
  counters[static_cast<std::size_t>(offence)].add();
}

bool Http2AbuseBudget::charge(Http2Offence offence, io::Instant now) {
  const std::int64_t ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now - refilled_at_).count();
  const std::int64_t refill = std::min<std::int64_t>(ms, 60'000) * kAbuseRefillPerSecond / 1000;
  if (refill > 0) {
    refund(static_cast<std::int32_t>(refill));
    refilled_at_ = now;
  }
  points_ -= kAbuseCosts[static_cast<std::size_t>(offence)];
  return points_ > 0;
}

}  // namespace weir::http
