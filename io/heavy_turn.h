#pragma once
// HeavyTurn: a coroutine's place among the heavy work of its loop, of which one item runs a turn:
// `co_await turn.wait()` before each further piece of something long. However many ask, others are
// held up by one piece a turn. Owned by whoever waits, who outlives the wait; loop thread only.

#include "io/event_loop.h"
#include "io/signal.h"

namespace weir::io {

class HeavyTurn : HeavyWork {
 public:
  HeavyTurn() {
    run = [](HeavyWork& self) { static_cast<HeavyTurn&>(self).granted_.notify(); };
  }
  ~HeavyTurn() { unlink(); }
  HeavyTurn(const HeavyTurn&) = delete;
  HeavyTurn& operator=(const HeavyTurn&) = delete;

  Signal::Awaiter wait() {
    EventLoop::current().heavy(*this);
    return granted_.wait();
  }

 private:
  Signal granted_;
};

}  // namespace weir::io
