#pragma once
// TestLoop: an EventLoop on the test's own thread, bound at construction, turned by hand until a
// condition holds. A condition that never comes fails the test after kTestPatience instead of
// hanging.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <utility>

#include "io/backend_choice.h"
#include "io/epoll_backend.h"
#include "io/event_loop.h"
#include "io/task.h"
#include "io/task_scope.h"
#include "io/uring_backend.h"

namespace weir::io {

inline constexpr Duration kTestPatience = 20s;

// Which backend tests run on when they do not say: io_uring, or what WEIR_TEST_IO names.
inline BackendKind test_backend_kind() {
  const char* named = std::getenv("WEIR_TEST_IO");
  const auto kind = parse_backend_kind(named != nullptr ? named : "io_uring");
  if (!kind || *kind == BackendKind::automatic) std::abort();
  return *kind;
}

// The epoll twin takes those of the options that it knows.
inline std::unique_ptr<Backend> test_backend(UringOptions options = {},
                                             BackendKind kind = test_backend_kind()) {
  auto backend = kind == BackendKind::epoll
                     ? create_epoll_backend({.recv_buffers = options.recv_buffers,
                                             .recv_buffer_bytes = options.recv_buffer_bytes})
                     : create_uring_backend(options);
  if (!backend) {
    std::fprintf(stderr, "%s\n", to_string(backend.error()).c_str());
    std::abort();
  }
  return std::move(*backend);
}

class TestLoop {
 public:
  explicit TestLoop(UringOptions options = {}, BackendKind kind = test_backend_kind())
      : loop(0, test_backend(options, kind), clock) {
    EXPECT_TRUE(loop.start().has_value());
  }

  // Turns until `done()`; false (and a failure) if it takes too long.
  template <typename Done>
  bool run_until(Done done) {
    const Instant give_up = clock.now() + kTestPatience;
    while (!done()) {
      if (clock.now() > give_up) {
        ADD_FAILURE() << "the awaited condition never came";
        return false;
      }
      loop.turn(clock.now() + 2ms);  // the condition may depend on more than the loop
    }
    return true;
  }
  void run_turns(int count) {
    for (int i = 0; i < count; ++i) loop.turn(Instant::min());
  }
  // Runs a task to its end and returns its value.
  template <typename T>
  T run(Task<T> task) {
    std::optional<T> value;
    TaskScope scope;
    scope.spawn(store(std::move(task), value));
    run_until([&] { return scope.running() == 0; });
    return std::move(*value);
  }
  void run(Task<void> task) {
    TaskScope scope;
    scope.spawn(std::move(task));
    run_until([&] { return scope.running() == 0; });
  }

  SystemClock clock;
  EventLoop loop;

 private:
  template <typename T>
  static Task<void> store(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await std::move(task));
  }
};

// Two connected stream sockets, both non-blocking.
inline std::array<int, 2> socket_pair() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    std::abort();
  }
  return fds;
}

inline std::array<int, 2> pipe_pair() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_NONBLOCK | O_CLOEXEC) != 0) std::abort();
  return fds;
}

}  // namespace weir::io
