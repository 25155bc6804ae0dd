#pragma once
// Mailbox: work for one owner from any thread. A poster pushes with one compare-and-swap, the
// owner takes everything at once, oldest first. There is no lock: whoever held it might lose its
// core, and the other side would wait for milliseconds on a busy machine. Bounded by its users, who
// can ask how much waits. The owner is one thread, or several under a lock of theirs.

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace weir::io {

class Mailbox {
 public:
  using Work = std::move_only_function<void()>;

  Mailbox() = default;
  ~Mailbox() { drop(newest_.load(std::memory_order_acquire)); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Any thread. True: nothing waited before, so the owner may be asleep.
  bool push(Work work) {
    waiting_.fetch_add(1, std::memory_order_relaxed);
    Message* older = newest_.load(std::memory_order_relaxed);
    auto* message = new Message{std::move(work), older};
    while (!newest_.compare_exchange_weak(older, message, std::memory_order_release,
                                          std::memory_order_relaxed)) {
      message->older = older;
    }
    return older == nullptr;  // the message itself is the owner's now, or has been run
  }
  // Any thread. waiting() counts also what is just being pushed.
  bool empty() const { return newest_.load(std::memory_order_acquire) == nullptr; }
  std::size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

  // The owner: runs what waited when it was called.
  void run() {
    take([](Work work) { work(); });
  }
  // The owner: gives what waits to `to`, oldest first.
  template <typename To>
  void take(To to) {
    Message* next = reversed(newest_.exchange(nullptr, std::memory_order_acquire));
    while (next != nullptr) {
      const std::unique_ptr<Message> message(std::exchange(next, next->older));
      waiting_.fetch_sub(1, std::memory_order_relaxed);
      to(std::move(message->work));
    }
  }

 private:
  struct Message {
    Work work;
    Message* older;
  };
  static Message* reversed(Message* newest) {
    Message* oldest = nullptr;
    while (newest != nullptr) {
      Message* const older = std::exchange(newest->older, oldest);
      oldest = std::exchange(newest, older);
    }
    return oldest;
  }
  static void drop(Message* message) {
    while (message != nullptr) delete std::exchange(message, message->older);
  }

  std::atomic<Message*> newest_{nullptr};
  std::atomic<std::size_t> waiting_{0};
};

}  // namespace weir::io
