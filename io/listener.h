#pragma once
// Listener: accepts on one listening descriptor of this loop (multishot) and hands each connection
// to the least loaded loop before a byte is read, when this loop is ahead of it by more than max(8,
// 1/8). The descriptor is borrowed: it belongs to the supervisor and is never closed here. Adds 1
// to the owner's load() before `on_connection`; who owns the connection subtracts it at the end.
// EMFILE/ENFILE: accepting pauses for kAcceptRetry and is counted. The kernel wakes one waiter per
// connection, and the rings of a killed process go on waiting for a while: such a wake-up is lost
// (seen: a connection unanswered for 10 s after kill -9). So the queue is looked at now and then,
// soon after the start and every kAcceptCheckMax at least. Loop thread only.

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "io/event_loop.h"

namespace weir::io {

inline constexpr Duration kAcceptRetry = 100ms;  // descriptors come free at request pace
inline constexpr Duration kAcceptCheckMin = 10ms;
inline constexpr Duration kAcceptCheckMax = 250ms;
// A loop with this much waiting in its mailbox is stalled: no more connections are handed to it.
inline constexpr std::size_t kMailboxHandOffMax = kMailboxMax / 4;

// Read by any thread.
struct ListenerStats {
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> handed_off{0};  // of them, to another loop
  std::atomic<std::uint64_t> paused{0};      // times accepting paused for want of descriptors
};

class Listener {
 public:
  // `on_connection` runs on the loop that will own `fd` (which may be another than this one).
  using OnConnection = std::function<void(EventLoop& owner, int fd)>;

  Listener(EventLoop& loop, int listen_fd, const std::vector<EventLoop*>& loops,
           OnConnection on_connection);
  ~Listener();

  void start();
  // Cancels the accept and reaps to its last completion, serving what arrives meanwhile; then
  // `on_stopped`. The queue of the listening socket is left to whoever accepts next.
  void stop(std::function<void()> on_stopped);
  const ListenerStats& stats() const { return stats_; }

 private:
  void arm();
  void check();
  void hand_over(int fd);
  void accepted(const Completion& completion);
  EventLoop& choose_loop() const;

  EventLoop& loop_;
  int fd_;
  const std::vector<EventLoop*>& loops_;
  std::shared_ptr<const OnConnection> on_connection_;  // shared with hand-offs under way
  std::function<void()> on_stopped_;
  struct AcceptOp;
  std::unique_ptr<AcceptOp> op_;
  struct CheckTimer;
  std::unique_ptr<CheckTimer> check_;
  Duration check_after_ = kAcceptCheckMin;
  ListenerStats stats_;
  bool stopping_ = false;
};

}  // namespace weir::io
