#pragma once
// LoopWaiter: one coroutine that waits, on its own loop, for something another loop's thread does.
// Shared by the waiter and whoever wakes it, so that a wake-up may come after the waiter has given
// up.

#include <memory>
#include <utility>

#include "io/event_loop.h"
#include "io/signal.h"

namespace weir::git {

struct LoopWaiter {
  io::EventLoop& loop = io::EventLoop::current();
  io::Signal signal;  // loop thread only

  // Any thread.
  static void wake(std::shared_ptr<LoopWaiter> waiter) {
    io::EventLoop& loop = waiter->loop;
    loop.post([waiter = std::move(waiter)] { waiter->signal.notify(); });
  }
};

}  // namespace weir::git
