#pragma once
// EpollSet: one epoll instance, what waits on each descriptor and how it is registered, and the
// wake-up descriptor. Owned by its EpollBackend; loop thread only but for wake(). The table grows
// to the highest descriptor number used and never shrinks (RLIMIT_NOFILE bounds it).

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>

#include "io/clock.h"
#include "io/error.h"
#include "io/op.h"
#include "io/unique_fd.h"

namespace weir::io {

inline constexpr std::size_t kEpollEventsMax = 512;  // of one wait; more come with the next

struct EpollEntry {
  IntrusiveList<Op> waiting;
  std::uint32_t generation = 0;  // of the registration
  std::uint32_t armed = 0;       // events the kernel would report; 0: none
  bool registered = false;       // as far as we know: the owner may have closed it
  bool dirty = false;            // noted by the backend for arming
};

class EpollSet {
 public:
  Result<void> create();

  // nullptr if `fd` is no descriptor and was none before.
  EpollEntry* entry(int fd);
  // Reports the next of `events`, once; 0 or errno (EPERM: this kind of file cannot wait).
  int arm(int fd, EpollEntry& entry, std::uint32_t events);
  // Nothing of it is reported any more.
  void disarm(int fd, EpollEntry& entry);
  // Its descriptor is about to be closed.
  void forget(EpollEntry& entry) { entry.registered = false, entry.armed = 0; }

  // Waits until something happens or `until`. Wake-ups end it and are not among the events.
  std::span<const epoll_event> wait(std::optional<Instant> until);
  // The entry of an event of a registration that still counts, which is then disarmed.
  EpollEntry* fired(const epoll_event& event);
  void wake();

 private:
  UniqueFd epoll_fd_;
  UniqueFd wake_fd_;
  std::deque<EpollEntry> entries_;  // by descriptor; they stay where they are
  std::array<epoll_event, kEpollEventsMax> events_;
};

}  // namespace weir::io
