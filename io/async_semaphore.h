#pragma once
// AsyncSemaphore: units shared by coroutines of one loop thread, given in order of arrival: a large
// request at the head is never overtaken by small ones. Owned by whatever the units stand for.
// Bounded: at most waiters_max wait, a further one gets Errc::limit at once. Waiting ends with
// Errc::cancelled or Errc::deadline_exceeded, and then holds nothing. The destructor checks that
// nobody waits and that every unit is back. Its use: tests/io/async_semaphore_test.cc.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "io/clock.h"
#include "io/error.h"
#include "io/event_loop.h"
#include "io/stop_token.h"

namespace weir::io {

class AsyncSemaphore {
 public:
  // Units held; given back on destruction.
  class [[nodiscard]] Units {
   public:
    Units() = default;
    Units(Units&& other) noexcept
        : semaphore_(std::exchange(other.semaphore_, nullptr)),
          count_(std::exchange(other.count_, 0)) {}
    Units& operator=(Units&& other) noexcept {
      if (this != &other) {
        release();
        semaphore_ = std::exchange(other.semaphore_, nullptr);
        count_ = std::exchange(other.count_, 0);
      }
      return *this;
    }
    ~Units() { release(); }
    std::int64_t count() const { return count_; }
    void release();

   private:
    friend class AsyncSemaphore;
    Units(AsyncSemaphore& semaphore, std::int64_t count) : semaphore_(&semaphore), count_(count) {}
    AsyncSemaphore* semaphore_ = nullptr;
    std::int64_t count_ = 0;
  };

  class [[nodiscard]] Awaiter : ListNode<Awaiter>, ReadyNode, StopCallback, Timer {
   public:
    Awaiter(AsyncSemaphore& semaphore, std::int64_t count, StopToken stop, Deadline deadline);
    bool await_ready();
    void await_suspend(std::coroutine_handle<> awaiting);
    Result<Units> await_resume();

   private:
    friend class AsyncSemaphore;
    template <typename T, typename Tag>
    friend class IntrusiveList;
    void complete(Result<void> result);
    AsyncSemaphore& semaphore_;
    std::int64_t count_;
    StopToken stop_;
    Deadline deadline_;
    Result<void> result_;
  };

  AsyncSemaphore(std::int64_t units, std::size_t waiters_max)
      : units_(units), available_(units), waiters_max_(waiters_max) {}
  ~AsyncSemaphore() { WEIR_CHECK(waiters_.empty() && available_ == units_); }
  AsyncSemaphore(const AsyncSemaphore&) = delete;
  AsyncSemaphore& operator=(const AsyncSemaphore&) = delete;

  // `count`: 1 .. units().
  Awaiter acquire(StopToken stop = {}, Deadline deadline = Deadline::never(),
                  std::int64_t count = 1) {
    return Awaiter(*this, count, stop, deadline);
  }
  // Empty when units are short or somebody waits already.
  std::optional<Units> try_acquire(std::int64_t count = 1);

  std::int64_t units() const { return units_; }
  std::int64_t available() const { return available_; }
  std::size_t waiting() const { return waiting_; }

 private:
  bool take(std::int64_t count);
  void give(std::int64_t count);
  void serve();

  const std::int64_t units_;
  std::int64_t available_;
  const std::size_t waiters_max_;
  std::size_t waiting_ = 0;
  IntrusiveList<Awaiter> waiters_;
};

}  // namespace weir::io
