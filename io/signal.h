#pragma once
// Signal: an auto-reset event with at most one waiter, on one loop thread. notify() before wait()
// is remembered once. The waiter is resumed from the loop's ready queue, never inside notify(), so
// that no caller meets re-entrancy. wait() returns: ok, Errc::cancelled or Errc::deadline_exceeded.
// Used by tests/io/signal_test.cc; every other awaitable of Weir is built on it.

#include <coroutine>

#include "io/clock.h"
#include "io/error.h"
#include "io/event_loop.h"
#include "io/stop_token.h"

namespace weir::io {

class Signal {
 public:
  Signal() = default;
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;
  ~Signal() { WEIR_CHECK(waiter_ == nullptr); }

  void notify();
  bool has_waiter() const { return waiter_ != nullptr; }
  // Forgets a notify() that nobody waited for.
  void reset() { notified_ = false; }

  class [[nodiscard]] Awaiter : ReadyNode, StopCallback, Timer {
   public:
    Awaiter(Signal& signal, StopToken stop, Deadline deadline);
    bool await_ready();
    void await_suspend(std::coroutine_handle<> handle);
    Result<void> await_resume() const { return result_; }

   private:
    friend class Signal;
    void complete(Result<void> result);
    Signal& signal_;
    StopToken stop_;
    Deadline deadline_;
    Result<void> result_;
  };

  Awaiter wait(StopToken stop = {}, Deadline deadline = Deadline::never()) {
    return Awaiter(*this, stop, deadline);
  }

 private:
  friend class Awaiter;
  Awaiter* waiter_ = nullptr;
  bool notified_ = false;
};

// Suspends until `deadline` (ok) or `stop` (Errc::cancelled).
class [[nodiscard]] Sleep {
 public:
  Sleep(Deadline until, StopToken stop) : awaiter_(never_notified_, stop, until) {}
  bool await_ready() { return awaiter_.await_ready(); }
  void await_suspend(std::coroutine_handle<> handle) { awaiter_.await_suspend(handle); }
  Result<void> await_resume() const {
    const Result<void> result = awaiter_.await_resume();
    if (!result && result.error().code == Errc::deadline_exceeded) return {};
    return result;
  }

 private:
  Signal never_notified_;
  Signal::Awaiter awaiter_;
};
inline Sleep sleep_until(Deadline until, StopToken stop) {
  return Sleep(until, stop);
}

}  // namespace weir::io
