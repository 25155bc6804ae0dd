#pragma once
// TaskScope: owns concurrently running tasks on one loop thread. Nothing it spawned outlives it:
// the destructor checks that it was joined. request_stop() fires the token given to the tasks;
// join() waits until the last one has ended (one joiner at a time).

#include <cstdint>

#include "io/signal.h"
#include "io/stop_token.h"
#include "io/task.h"

namespace weir::io {

class TaskScope {
 public:
  TaskScope() = default;
  ~TaskScope() { WEIR_CHECK(running_ == 0); }
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  // Starts `task` at once, up to its first suspension.
  void spawn(Task<void> task) {
    ++running_;
    run(std::move(task));
  }
  StopToken token() { return StopToken(stop_); }
  void request_stop() { stop_.request_stop(); }
  std::int64_t running() const { return running_; }
  // Called on the loop thread when running() falls to 0; may destroy the scope. Optional.
  void on_idle(void (*callback)(void* context), void* context) {
    idle_callback_ = callback;
    idle_context_ = context;
  }

  Task<void> join() {
    while (running_ > 0) co_await idle_.wait();
  }

 private:
  struct Detached {
    struct promise_type {
      static void* operator new(std::size_t bytes) { return frame_allocate(bytes); }
      static void operator delete(void* frame, std::size_t bytes) { frame_free(frame, bytes); }
      Detached get_return_object() const noexcept { return {}; }
      std::suspend_never initial_suspend() const noexcept { return {}; }
      std::suspend_never final_suspend() const noexcept { return {}; }
      void return_void() const noexcept {}
      [[noreturn]] void unhandled_exception() const noexcept { std::abort(); }
    };
  };

  Detached run(Task<void> task) {
    {
      Task<void> owned = std::move(task);  // freed before finished() may destroy this scope
      co_await std::move(owned);
    }
    finished();
  }
  void finished() {
    WEIR_CHECK(running_ > 0);
    if (--running_ > 0) return;
    if (idle_.has_waiter()) idle_.notify();
    if (idle_callback_ != nullptr) idle_callback_(idle_context_);
  }

  std::int64_t running_ = 0;
  StopSource stop_;
  Signal idle_;
  void (*idle_callback_)(void*) = nullptr;
  void* idle_context_ = nullptr;
};

}  // namespace weir::io
