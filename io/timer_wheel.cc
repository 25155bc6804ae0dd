#include "io/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace weir::io {
namespace {

std::uint64_t bit(std::uint64_t slot) {
  return std::uint64_t{1} << slot;
}

}  // namespace

TimerWheel::TimerWheel(Instant now) : origin_(now) {}

TimerWheel::~TimerWheel() = default;  // each slot's list checks that it is empty

std::uint64_t TimerWheel::tick_of(Instant at) const {
  if (at <= origin_) return 0;
  const auto elapsed = static_cast<std::uint64_t>((at - origin_).count());
  const auto tick = static_cast<std::uint64_t>(kTimerTick.count());
  return elapsed / tick + (elapsed % tick != 0 ? 1 : 0);
}

void TimerWheel::arm(Timer& timer, Instant at) {
  WEIR_CHECK(timer.on_expire != nullptr);
  timer.unlink();
  timer.expires_at = at;
  place(timer, std::max(tick_of(at), tick_ + 1));
}

// A timer sits at the level of the highest group of bits in which its tick differs from the current
// one, so it is met exactly when the wheel's hand of that level reaches its slot.
void TimerWheel::place(Timer& timer, std::uint64_t tick) {
  const std::uint64_t differing = tick ^ tick_;
  int level = differing == 0 ? 0 : (static_cast<int>(std::bit_width(differing)) - 1) / kSlotBits;
  std::uint64_t slot = 0;
  if (level < kLevels - 1) {
    slot = (tick >> (kSlotBits * level)) & (kSlots - 1);
  } else {
    // The top level is a circle; what lies beyond one round waits in its last slot and is
    // re-placed.
    level = kLevels - 1;
    const std::uint64_t hand = tick_ >> (kSlotBits * level);
    slot = std::min(tick >> (kSlotBits * level), hand + kSlots - 1) & (kSlots - 1);
  }
  const auto level_index = static_cast<std::size_t>(level);
  slots_[level_index][slot].push_back(timer);
  occupied_[level_index] |= bit(slot);
}

std::optional<std::uint64_t> TimerWheel::next_event() const {
  for (int level = 0; level < kLevels; ++level) {
    const auto level_index = static_cast<std::size_t>(level);
    std::uint64_t& occupied = occupied_[level_index];
    const std::uint64_t hand = tick_ >> (kSlotBits * level);
    const auto hand_slot = static_cast<int>(hand & (kSlots - 1));
    while (occupied != 0) {
      // Rotated so that bit 0 is the slot after the hand: the first set bit is the next to be met.
      const int ahead = std::countr_zero(std::rotr(occupied, hand_slot + 1)) + 1;
      const std::uint64_t slot = (hand + static_cast<std::uint64_t>(ahead)) & (kSlots - 1);
      if (!slots_[level_index][slot].empty()) {
        return (hand + static_cast<std::uint64_t>(ahead)) << (kSlotBits * level);
      }
      occupied &= ~bit(slot);
    }
  }
  return std::nullopt;
}

std::optional<Instant> TimerWheel::next_expiry() const {
  const std::optional<std::uint64_t> tick = next_event();
  if (!tick) return std::nullopt;
  return origin_ + kTimerTick * static_cast<std::int64_t>(*tick);
}

// Moves the timers of each slot that a hand above the lowest has just reached down the levels.
void TimerWheel::cascade() {
  for (int level = kLevels - 1; level > 0; --level) {
    const int shift = kSlotBits * level;
    if ((tick_ & ((std::uint64_t{1} << shift) - 1)) != 0) continue;
    const auto level_index = static_cast<std::size_t>(level);
    const std::uint64_t slot = (tick_ >> shift) & (kSlots - 1);
    IntrusiveList<Timer> moving;
    moving.splice_back(slots_[level_index][slot]);
    occupied_[level_index] &= ~bit(slot);
    while (!moving.empty()) {
      Timer& timer = moving.pop_front();
      place(timer, std::max(tick_of(timer.expires_at), tick_));
    }
  }
}

void TimerWheel::advance(Instant now) {
  if (now <= origin_) return;
  const auto now_tick = static_cast<std::uint64_t>((now - origin_) / kTimerTick);
  while (tick_ < now_tick) {
    const std::optional<std::uint64_t> next = next_event();
    if (!next || *next > now_tick) break;
    tick_ = *next;
    cascade();
    const std::uint64_t slot = tick_ & (kSlots - 1);
    IntrusiveList<Timer> due;
    due.splice_back(slots_[0][slot]);
    occupied_[0] &= ~bit(slot);
    while (!due.empty()) {
      Timer& timer = due.pop_front();
      timer.on_expire(timer);
    }
  }
  tick_ = std::max(tick_, now_tick);
}

}  // namespace weir::io
