#include "io/signal.h"

namespace weir::io {

void Signal::notify() {
  if (waiter_ == nullptr) {
    notified_ = true;
    return;
  }
  waiter_->complete({});
}

Signal::Awaiter::Awaiter(Signal& signal, StopToken stop, Deadline deadline)
    : signal_(signal), stop_(stop), deadline_(deadline) {}

bool Signal::Awaiter::await_ready() {
  if (signal_.notified_) {
    signal_.notified_ = false;
    return true;
  }
  if (stop_.stopped()) {
    result_ = fail(Errc::cancelled, "wait");
    return true;
  }
  return false;
}

void Signal::Awaiter::await_suspend(std::coroutine_handle<> awaiting) {
  WEIR_CHECK(signal_.waiter_ == nullptr);
  signal_.waiter_ = this;
  handle = awaiting;
  on_stop = [](StopCallback& self) {
    static_cast<Awaiter&>(self).complete(fail(Errc::cancelled, "wait"));
  };
  stop_.subscribe(*this);
  if (!deadline_.is_never()) {
    on_expire = [](Timer& self) {
      static_cast<Awaiter&>(self).complete(fail(Errc::deadline_exceeded, "wait"));
    };
    EventLoop::current().timers().arm(*this, deadline_.at);
  }
}

void Signal::Awaiter::complete(Result<void> result) {
  WEIR_CHECK(signal_.waiter_ == this);
  signal_.waiter_ = nullptr;
  StopCallback::unlink();
  EventLoop::current().timers().cancel(*this);
  result_ = result;
  EventLoop::current().schedule(*this);
}

}  // namespace weir::io
