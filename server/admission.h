#pragma once
// AdmissionDoor: the one door through which requests become work: admit() gives a Ticket or says no
// and why; the Ticket settles when it is destroyed. Today it bounds the requests in flight of the
// process; process slots bound the work behind it. Thread-safe: one for all loops.

#include <atomic>
#include <cstdint>
#include <optional>

#include "io/metrics.h"

namespace weir::server {

class AdmissionDoor {
 public:
  explicit AdmissionDoor(std::uint32_t requests_in_flight_max);

  class Ticket {
   public:
    Ticket(Ticket&& other) noexcept : door_(other.door_) { other.door_ = nullptr; }
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (door_ != nullptr) door_->leave();
    }

   private:
    friend class AdmissionDoor;
    explicit Ticket(AdmissionDoor& door) : door_(&door) {}
    AdmissionDoor* door_;
  };

  // nullopt: too much is in flight; come back after kRetryAfterSeconds.
  std::optional<Ticket> admit();
  static constexpr int kRetryAfterSeconds = 5;

 private:
  void leave();

  const std::int64_t max_;
  std::atomic<std::int64_t> in_flight_{0};
  io::Gauge in_flight_gauge_;
  io::Counter refused_;
};

}  // namespace weir::server
