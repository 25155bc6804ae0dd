#pragma once
// LiveRequests: what is in flight on one loop, readable by the admin thread while the loop is busy
// or stuck. The loop writes, anybody reads a copy; the mutex is held for a few assignments, or
// while the admin thread copies the rows. Bounded by the requests in flight.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "http/exchange.h"
#include "io/clock.h"
#include "io/intrusive_list.h"
#include "server/drain.h"

namespace weir::server {

// One row of /v1/status. Strings and class are written under the list's mutex only.
struct LiveRequest : io::ListNode<LiveRequest> {
  std::string id;
  std::string tenant;
  std::string repository;
  std::string operation;
  std::string principal;
  RequestClass of_class = RequestClass::light;
  http::Exchange* exchange = nullptr;  // loop thread only
  io::Instant arrived_at{};
  std::atomic<std::uint64_t> bytes_in{0};
  std::atomic<std::uint64_t> bytes_out{0};
};

struct LiveRequestRow {
  std::string id, tenant, repository, operation, principal;
  RequestClass of_class = RequestClass::light;
  io::Duration age{};
  std::uint64_t bytes_in = 0, bytes_out = 0;
};

class LiveRequests {
 public:
  void enter(LiveRequest& request) {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    ++count_;
  }
  void leave(LiveRequest& request) {
    const std::lock_guard lock(mutex_);
    request.unlink();
    --count_;
  }
  template <typename Change>
  void update(Change change) {
    const std::lock_guard lock(mutex_);
    change();
  }
  std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  // Those of which `wanted` (of the LiveRequest) is true.
  template <typename Wanted>
  void copy_to(std::vector<LiveRequestRow>& rows, io::Instant now, Wanted wanted) {
    const std::lock_guard lock(mutex_);
    for (LiveRequest* at = requests_.first(); at != nullptr; at = requests_.next(*at)) {
      if (!wanted(*at)) continue;
      rows.push_back({at->id, at->tenant, at->repository, at->operation, at->principal,
                      at->of_class, now - at->arrived_at,
                      at->bytes_in.load(std::memory_order_relaxed),
                      at->bytes_out.load(std::memory_order_relaxed)});
    }
  }

  // Loop thread: cuts those of `ids` that are still there.
  void cut(const std::vector<std::string>& ids) {
    for (LiveRequest *at = requests_.first(), *next = nullptr; at != nullptr; at = next) {
      next = requests_.next(*at);
      if (std::ranges::find(ids, at->id) != ids.end()) at->exchange->cut();
    }
  }

 private:
  mutable std::mutex mutex_;
  io::IntrusiveList<LiveRequest> requests_;
  std::size_t count_ = 0;
};

}  // namespace weir::server
