#include "server/admission.h"

namespace weir::server {

AdmissionDoor::AdmissionDoor(std::uint32_t requests_in_flight_max)
    : max_(requests_in_flight_max),
      in_flight_gauge_(io::Metrics::instance().gauge("weir_requests_in_flight", "",
                                                     "Requests admitted and not settled.")),
      refused_(io::Metrics::instance().counter("weir_admission_refused", "reason=\"in_flight\"",
                                               "Requests refused at the admission door.")) {}

std::optional<AdmissionDoor::Ticket> AdmissionDoor::admit() {
  if (in_flight_.fetch_add(1, std::memory_order_relaxed) >= max_) {
    in_flight_.fetch_sub(1, std::memory_order_relaxed);
    refused_.add();
    return std::nullopt;
  }
  in_flight_gauge_.add(1);
  return Ticket(*this);
}

void AdmissionDoor::leave() {
  in_flight_.fetch_sub(1, std::memory_order_relaxed);
  in_flight_gauge_.add(-1);
}

}  // namespace weir::server
