#include "server/drain.h"

#include <algorithm>

#include "io/check.h"

namespace weir::server {

std::string_view to_string(RequestClass request) {
  switch (request) {
    case RequestClass::light:
      return "light";
    case RequestClass::fetch:
      return "fetch";
    case RequestClass::push:
      return "push";
    case RequestClass::count:
      break;
  }
  WEIR_CHECK(false);
}

Drain::Drain(const DrainLimits& limits, io::Instant now)
    : limits_(limits),
      accept_end_(now + std::min(limits.accept, limits.whole)),
      end_(now + limits.whole),
      quiet_since_(accept_end_) {}

io::Instant Drain::deadline(RequestClass request, io::Instant arrived_at) const {
  const io::Duration its = request == RequestClass::push    ? limits_.push
                           : request == RequestClass::fetch ? limits_.fetch
                                                            : limits_.light;
  return std::min(end_, std::max(accept_end_, arrived_at) + its);
}

bool Drain::over(io::Instant now, bool requests_in_flight) {
  if (requests_in_flight) quiet_since_ = std::max(quiet_since_, now);
  return now >= end_ || now >= quiet_since_ + kDrainQuiet;
}

}  // namespace weir::server
