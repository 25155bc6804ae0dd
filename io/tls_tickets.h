#pragma once
// TicketKeys: the rotating keys of stateless session tickets, shared by all contexts and loop
// threads of a process (internally locked; held for a copy of 80 bytes). Three keys: previous,
// current, next; rotated every kTicketRotation, so a ticket lives at most two periods. Keys can be
// exported to and imported from a sealed memory file, so that a restarted process accepts its
// predecessor's tickets. Key bytes are zeroed on destruction.

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>

#include "io/clock.h"
#include "io/error.h"

namespace weir::io {

inline constexpr Duration kTicketRotation = 12h;

struct TicketKey {
  std::array<std::uint8_t, 16> name;
  std::array<std::uint8_t, 32> aes_key;
  std::array<std::uint8_t, 32> hmac_key;
};

class TicketKeys {
 public:
  // Fresh random keys.
  static Result<std::shared_ptr<TicketKeys>> create(std::int64_t unix_now_ns);
  // Shared through `fd` (memfd, exactly sizeof the stored form): read if it holds keys, else
  // filled.
  static Result<std::shared_ptr<TicketKeys>> open_shared(int fd, std::int64_t unix_now_ns);
  ~TicketKeys();

  // Rotates if the period has passed. Call about once a minute.
  void rotate_if_due(std::int64_t unix_now_ns);
  TicketKey current() const;
  // The key named `name` (16 bytes), and whether the ticket should be renewed with the current one.
  bool find(const std::uint8_t* name, TicketKey& key, bool& renew) const;

 private:
  struct State {
    std::array<TicketKey, 3> keys;  // previous, current, next
    std::int64_t rotated_unix_ns;
  };
  TicketKeys() = default;
  mutable std::mutex mutex_;
  State state_{};
  int shared_fd_ = -1;
};

}  // namespace weir::io
