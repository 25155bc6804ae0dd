#include "git/process_slots.h"

#include <algorithm>

#include "io/check.h"

namespace weir::git {

ProcessSlots::ProcessSlots(const std::string& kind, int slots, std::size_t waiting_max)
    : slots_(slots), waiting_max_(waiting_max) {
  WEIR_CHECK(slots > 0);
  io::Metrics& metrics = io::Metrics::instance();
  const std::string labels = "kind=\"" + kind + "\"";
  in_use_gauge_ = metrics.gauge("weir_git_slots_in_use", labels, "Git processes running.");
  waiting_gauge_ = metrics.gauge("weir_git_slots_waiting", labels, "Requests waiting for a slot.");
  refused_ = metrics.counter("weir_git_slots_refused_total", labels,
                             "Requests that got no slot: queue full, or waited too long.");
  wait_ = metrics.histogram("weir_git_slot_wait_seconds", labels, "Wait for a slot.");
}

ProcessSlots::~ProcessSlots() {
  WEIR_CHECK(in_use_ == 0 && waiting_.empty());
}

io::Task<io::Result<ProcessSlots::Slot>> ProcessSlots::acquire(io::StopToken stop,
                                                               io::Deadline deadline) {
  const io::Instant began = io::EventLoop::current().now();
  std::shared_ptr<Waiter> waiter;
  {
    const std::scoped_lock lock(mutex_);
    if (in_use_ < slots_) {
      ++in_use_;
    } else if (waiting_.size() >= waiting_max_) {
      refused_.add();
      co_return io::fail(io::Errc::limit, "process slots");
    } else {
      waiter = std::make_shared<Waiter>();
      waiting_.push_back(waiter);
    }
  }
  io::Result<void> woken;
  if (waiter != nullptr) {
    waiting_gauge_.add(1);
    woken = co_await waiter->signal.wait(stop, deadline);
    waiting_gauge_.add(-1);
    const std::scoped_lock lock(mutex_);
    if (!waiter->granted) std::erase(waiting_, waiter);
  }
  in_use_gauge_.add(waiter == nullptr || waiter->granted ? 1 : 0);
  if (!woken) {
    if (woken.error().code == io::Errc::deadline_exceeded) refused_.add();
    if (waiter->granted) release();  // granted while giving up
    co_return std::unexpected(woken.error());
  }
  wait_.observe(io::EventLoop::current().now() - began);
  co_return Slot(*this);
}

void ProcessSlots::release() {
  in_use_gauge_.add(-1);
  std::shared_ptr<Waiter> next;
  {
    const std::scoped_lock lock(mutex_);
    WEIR_CHECK(in_use_ > 0);
    if (waiting_.empty()) {
      --in_use_;
      return;
    }
    next = std::move(waiting_.front());
    waiting_.pop_front();
    next->granted = true;  // the slot changes hands without being free in between
  }
  LoopWaiter::wake(std::move(next));
}

int ProcessSlots::in_use() const {
  const std::scoped_lock lock(mutex_);
  return in_use_;
}

std::size_t ProcessSlots::waiting() const {
  const std::scoped_lock lock(mutex_);
  return waiting_.size();
}

}  // namespace weir::git
