#pragma once
// WriteScheduler: decides whose bytes leave the loop next. A Stream with output to produce and room
// in its socket registers a WriteSource under the flow of the response it would send (a tenant,
// later); each turn the scheduler serves flows by deficit round robin: a flow gets quantum x weight
// bytes a round and keeps no credit when it has nothing to send. Bytes a turn are bounded so that
// one turn of bulk encryption does not delay small answers. Loop thread only; flows exist only
// while they wait. Algorithm: Shreedhar & Varghese, "Efficient Fair Queuing using Deficit Round
// Robin", 1995.

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "io/intrusive_list.h"

namespace weir::io {

struct WriteFlow {
  std::uint64_t id = 0;      // 0: shared by everything unclassified
  std::uint32_t weight = 1;  // 1..1000
};

inline constexpr std::size_t kWriteQuantumBytes = 256 * 1024;  // a round's share at weight 1
inline constexpr std::size_t kWriteTurnBytesMax =
    1024 * 1024;  // ~0.4 ms of AES-GCM: one turn's bulk
inline constexpr std::size_t kWriteCallBytesMin =
    512;  // what a call costs at least: bounds calls a turn
inline constexpr std::uint32_t kWriteWeightMax = 1000;
static_assert(kWriteTurnBytesMax >= kWriteQuantumBytes);
static_assert(kWriteTurnBytesMax / kWriteCallBytesMin <= 2048, "calls of one turn");

class WriteSource : public ListNode<WriteSource> {
 public:
  // Produces at most about `bytes_max` of output (may exceed it by one TLS record); returns the
  // bytes produced. The source re-registers itself when it can go on.
  virtual std::size_t write_some(std::size_t bytes_max) = 0;

 protected:
  ~WriteSource() = default;
};

class WriteScheduler {
 public:
  WriteScheduler() = default;
  ~WriteScheduler();
  WriteScheduler(const WriteScheduler&) = delete;
  WriteScheduler& operator=(const WriteScheduler&) = delete;

  // Queues `source` under `flow`; no effect while it is queued already.
  void ready(WriteSource& source, WriteFlow flow);
  // Serves until nothing is queued or the turn's bound is reached; true if something is left.
  bool run();
  bool waiting() const { return !active_.empty(); }
  std::size_t flows_waiting() const;

 private:
  struct Flow : ListNode<Flow> {
    std::uint64_t id = 0;
    std::uint32_t weight = 1;
    std::int64_t deficit_bytes = 0;
    bool served = false;  // has its share of the current round (the turn may end within it)
    IntrusiveList<WriteSource> sources;
  };
  std::size_t serve(WriteSource& source, Flow& flow, std::size_t turn_bytes_left);

  std::unordered_map<std::uint64_t, Flow> flows_;
  IntrusiveList<Flow> active_;
};

}  // namespace weir::io
