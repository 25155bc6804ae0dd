#pragma once
// Drain: the course of an orderly end, as a value that is asked what is due. From the signal on new
// connections are accepted for a while yet (balancers notice late that readiness is off; a client
// between two requests of one operation needs a new connection); then requests end by the deadline
// of their class; when none has been under way for kDrainQuiet, the connections that stay are
// closed; at the end of everything all that is left is cut. Who asks does what is due.

#include <cstdint>
#include <string_view>

#include "io/clock.h"

namespace weir::server {

// After the last request connections are kept so long for a client between two requests.
inline constexpr io::Duration kDrainQuiet = std::chrono::seconds(2);
// What was cut needs a moment to end; a push that has all of its input may need longer, and
// finishes under the launcher.
inline constexpr io::Duration kDrainCutWait = std::chrono::seconds(5);

enum class RequestClass : std::uint8_t { light, fetch, push, count };
std::string_view to_string(RequestClass request);

struct DrainLimits {
  io::Duration accept{};              // after the signal
  io::Duration light, fetch, push{};  // after accepting has stopped, or after the request came
  io::Duration whole{};               // after the signal
};

class Drain {
 public:
  Drain(const DrainLimits& limits, io::Instant now);

  bool accepting(io::Instant now) const { return now < accept_end_; }
  // When a request of that class that came then is cut.
  io::Instant deadline(RequestClass request, io::Instant arrived_at) const;
  // Told again and again. True: the connections that are left are to be closed.
  bool over(io::Instant now, bool requests_in_flight);
  // Whoever still runs has had its time.
  bool hopeless(io::Instant now) const { return now >= end_ + kDrainCutWait; }

 private:
  DrainLimits limits_;
  io::Instant accept_end_;
  io::Instant end_;
  io::Instant quiet_since_;
};

}  // namespace weir::server
