#pragma once
// Runs a task that needs no event loop: its value, or nullopt if it is still waiting.

#include <cstdlib>
#include <optional>

#include "io/task.h"

namespace weir::server {

struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::abort(); }
  };
};

template <typename T>
Detached store_result(io::Task<T> task, std::optional<T>& result) {
  io::Task<T> owned = std::move(task);
  result.emplace(co_await std::move(owned));
}

template <typename T>
std::optional<T> run_now(io::Task<T> task) {
  std::optional<T> result;
  store_result(std::move(task), result);
  return result;
}

}  // namespace weir::server
