#pragma once
// SimulatedBlockingPool: a BlockingPool without threads: a job runs inside a later turn of its
// loop, in an order of chance, and its end is told later still, so that whatever the job saw may
// be old by then. Now and then it is full. Owned by the run; before its loop ends it is idle.

#include <list>

#include "io/blocking_pool.h"
#include "tests/sim/seeded_random.h"

namespace weir::io {

class SimulatedBlockingPool final : public BlockingPool {
 public:
  // `full_odds`: one in so many jobs finds no room; 0: none does.
  SimulatedBlockingPool(EventLoop& loop, SeededRandom random, Duration delay_max,
                        std::uint64_t full_odds)
      : loop_(loop), random_(random), delay_max_(delay_max), full_odds_(full_odds) {}
  ~SimulatedBlockingPool() override { WEIR_CHECK(jobs_.empty()); }
  bool idle() const { return jobs_.empty(); }

 private:
  struct Pending : Timer {
    SimulatedBlockingPool* pool = nullptr;
    Job job;
    bool worked = false;
    std::list<Pending>::iterator self;
  };

  bool push(Job job) override {
    if (random_.one_in(full_odds_)) return false;
    Pending& pending = jobs_.emplace_back();
    pending.pool = this;
    pending.job = std::move(job);
    pending.self = std::prev(jobs_.end());
    pending.on_expire = [](Timer& timer) {
      auto& due = static_cast<Pending&>(timer);
      due.pool->go_on(due);
    };
    arm(pending);
    return true;
  }
  void go_on(Pending& pending) {
    if (!std::exchange(pending.worked, true)) {
      pending.job.work();
      pending.job.work = {};
      return arm(pending);
    }
    Job ended = std::move(pending.job);
    jobs_.erase(pending.self);
    ended.done();
  }
  void arm(Pending& pending) {
    loop_.timers().arm(pending, loop_.now() + random_.duration_up_to(delay_max_));
  }

  EventLoop& loop_;
  SeededRandom random_;
  const Duration delay_max_;
  const std::uint64_t full_odds_;
  std::list<Pending> jobs_;
};

}  // namespace weir::io
