#pragma once
// Gate: counts who is inside something that is to be torn down, refuses newcomers once it closes,
// and tells when the last one has left. Owned by what it guards; the destructor checks that it is
// empty. One loop thread; one waiter. After Seastar's gate. Its use: tests/io/gate_test.cc.

#include <cstdint>
#include <optional>
#include <utility>

#include "io/signal.h"
#include "io/task.h"

namespace weir::io {

class Gate {
 public:
  // Being inside; leaves on destruction.
  class [[nodiscard]] Pass {
   public:
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&& other) noexcept {
      if (this != &other) {
        leave();
        gate_ = std::exchange(other.gate_, nullptr);
      }
      return *this;
    }
    ~Pass() { leave(); }

   private:
    friend class Gate;
    explicit Pass(Gate& gate) : gate_(&gate) {}
    void leave() {
      if (gate_ != nullptr) std::exchange(gate_, nullptr)->left();
    }
    Gate* gate_;
  };

  Gate() = default;
  ~Gate() { WEIR_CHECK(inside_ == 0); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // Empty when closed.
  std::optional<Pass> enter() {
    if (closed_) return std::nullopt;
    ++inside_;
    return Pass(*this);
  }
  void close() { closed_ = true; }
  bool closed() const { return closed_; }
  std::int64_t inside() const { return inside_; }
  // Closes, and ends when nobody is inside.
  Task<void> close_and_wait() {
    close();
    while (inside_ > 0) (void)co_await empty_.wait();
  }

 private:
  void left() {
    WEIR_CHECK(inside_ > 0);
    if (--inside_ == 0 && empty_.has_waiter()) empty_.notify();
  }

  std::int64_t inside_ = 0;
  bool closed_ = false;
  Signal empty_;
};

}  // namespace weir::io
