#include "io/async_semaphore.h"

namespace weir::io {

void AsyncSemaphore::Units::release() {
  if (semaphore_ == nullptr) return;
  AsyncSemaphore& semaphore = *std::exchange(semaphore_, nullptr);
  semaphore.give(std::exchange(count_, 0));
}

bool AsyncSemaphore::take(std::int64_t count) {
  WEIR_CHECK(count > 0 && count <= units_);
  if (!waiters_.empty() || available_ < count) return false;
  available_ -= count;
  return true;
}

void AsyncSemaphore::give(std::int64_t count) {
  available_ += count;
  WEIR_CHECK(available_ <= units_);
  serve();
}

void AsyncSemaphore::serve() {
  while (!waiters_.empty() && waiters_.front().count_ <= available_) {
    Awaiter& next = waiters_.front();
    available_ -= next.count_;
    next.complete({});
  }
}

std::optional<AsyncSemaphore::Units> AsyncSemaphore::try_acquire(std::int64_t count) {
  if (!take(count)) return std::nullopt;
  return Units(*this, count);
}

AsyncSemaphore::Awaiter::Awaiter(AsyncSemaphore& semaphore, std::int64_t count, StopToken stop,
                                 Deadline deadline)
    : semaphore_(semaphore), count_(count), stop_(stop), deadline_(deadline) {}

bool AsyncSemaphore::Awaiter::await_ready() {
  if (stop_.stopped()) {
    result_ = fail(Errc::cancelled, "semaphore");
    return true;
  }
  if (semaphore_.take(count_)) return true;
  if (semaphore_.waiting_ < semaphore_.waiters_max_) return false;
  result_ = fail(Errc::limit, "semaphore");
  return true;
}

void AsyncSemaphore::Awaiter::await_suspend(std::coroutine_handle<> awaiting) {
  handle = awaiting;
  semaphore_.waiters_.push_back(*this);
  ++semaphore_.waiting_;
  on_stop = [](StopCallback& self) {
    static_cast<Awaiter&>(self).complete(fail(Errc::cancelled, "semaphore"));
  };
  stop_.subscribe(*this);
  if (!deadline_.is_never()) {
    on_expire = [](Timer& self) {
      static_cast<Awaiter&>(self).complete(fail(Errc::deadline_exceeded, "semaphore"));
    };
    EventLoop::current().timers().arm(*this, deadline_.at);
  }
}

void AsyncSemaphore::Awaiter::complete(Result<void> result) {
  ListNode<Awaiter>::unlink();
  StopCallback::unlink();
  Timer::unlink();
  --semaphore_.waiting_;
  result_ = result;
  EventLoop::current().schedule(*this);
  if (!result) semaphore_.serve();  // who waited behind may fit now
}

Result<AsyncSemaphore::Units> AsyncSemaphore::Awaiter::await_resume() {
  if (!result_) return std::unexpected(result_.error());
  return Units(semaphore_, count_);
}

}  // namespace weir::io
