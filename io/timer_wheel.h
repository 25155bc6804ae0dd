#pragma once
// Hierarchical timer wheel of one loop: 4 ms ticks, O(1) arm and cancel, no allocation. Timers are
// intrusive and owned by their users, who cancel before destruction (the destructor checks). A
// timer never fires early; it may fire up to one tick and one loop turn late. Unbounded count, zero
// bytes each. Callbacks run on the loop thread and may arm and cancel any timer, themselves
// included.

#include <array>
#include <cstdint>
#include <optional>

#include "io/clock.h"
#include "io/intrusive_list.h"

namespace weir::io {

struct Timer : ListNode<Timer> {
  void (*on_expire)(Timer& self) = nullptr;
  Instant expires_at{};

  bool armed() const { return linked(); }
};

inline constexpr Duration kTimerTick = 4ms;  // two orders below the shortest timeout (500 ms)

class TimerWheel {
 public:
  explicit TimerWheel(Instant now);
  ~TimerWheel();

  // Re-arms if already armed.
  void arm(Timer& timer, Instant at);
  void cancel(Timer& timer) { timer.unlink(); }
  // Runs every timer due at `now`.
  void advance(Instant now);
  // Until when the loop may sleep; nullopt when nothing is armed. May be earlier than the first
  // timer.
  std::optional<Instant> next_expiry() const;

 private:
  static constexpr int kLevels = 5;  // 64^5 ticks of 4 ms: 49 days; later ones re-arm
  static constexpr int kSlotBits = 6;
  static constexpr int kSlots = 1 << kSlotBits;

  static_assert(kSlots == 64);  // one word of occupied_ a level

  std::uint64_t tick_of(Instant at) const;  // the first tick at or after `at`
  void place(Timer& timer, std::uint64_t tick);
  void cascade();
  // The next tick at which anything has to be run or cascaded.
  std::optional<std::uint64_t> next_event() const;

  Instant origin_;
  std::uint64_t tick_ = 0;  // last tick that was run
  std::array<std::array<IntrusiveList<Timer>, kSlots>, kLevels> slots_;
  // Bit set: the slot may hold timers (cancel() does not know the slot, so bits are cleared
  // lazily).
  mutable std::array<std::uint64_t, kLevels> occupied_{};
};

}  // namespace weir::io
