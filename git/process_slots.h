#pragma once
// ProcessSlots: how many git processes of one kind run at once in the whole process. Shared by all
// loops. Waiting is first in, first out and bounded by waiting_max; beyond it acquire() fails with
// Errc::limit at once. Its errors otherwise: cancelled, deadline_exceeded. Outlives every Slot.
// Used by tests/git/process_slots_test.cc.

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "git/loop_waiter.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/metrics.h"
#include "io/stop_token.h"
#include "io/task.h"

namespace weir::git {

class ProcessSlots {
 public:
  // `kind` ("fetch", "push") names the metrics.
  ProcessSlots(const std::string& kind, int slots, std::size_t waiting_max);
  ~ProcessSlots();
  ProcessSlots(const ProcessSlots&) = delete;
  ProcessSlots& operator=(const ProcessSlots&) = delete;

  // The right to run one process; given back by destruction, on any thread.
  class Slot {
   public:
    Slot(Slot&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(owner_, other.owner_);
      return *this;
    }
    ~Slot() {
      if (owner_ != nullptr) owner_->release();
    }

   private:
    friend class ProcessSlots;
    explicit Slot(ProcessSlots& owner) : owner_(&owner) {}
    ProcessSlots* owner_;
  };

  io::Task<io::Result<Slot>> acquire(io::StopToken stop, io::Deadline deadline);

  int in_use() const;
  std::size_t waiting() const;

 private:
  struct Waiter : LoopWaiter {
    bool granted = false;  // under mutex_
  };
  void release();

  const int slots_;
  const std::size_t waiting_max_;
  mutable std::mutex mutex_;
  int in_use_ = 0;
  std::deque<std::shared_ptr<Waiter>> waiting_;
  io::Gauge in_use_gauge_;
  io::Gauge waiting_gauge_;
  io::Counter refused_;
  io::Histogram wait_;
};

}  // namespace weir::git
