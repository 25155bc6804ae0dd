#pragma once
// DampingTable: how often wrong credentials came from an address lately. Keyed on (address,
// credential id): IPv4 whole, IPv6 by /64. More than kWrongMax within kWrongWindow of the first:
// damped until the window ends. Thread-safe (sharded locks). Bounded: kDampingEntriesMax, the least
// recently wrong leave.

#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/clock.h"
#include "io/metrics.h"

namespace weir::server {

inline constexpr std::size_t kDampingEntriesMax = 65'536;
inline constexpr int kWrongMax = 10;
inline constexpr io::Duration kWrongWindow = std::chrono::minutes(10);

class DampingTable {
 public:
  explicit DampingTable(std::size_t entries_max = kDampingEntriesMax);
  // Counts one wrong credential. 0: answer as usual; else damped: seconds until the window ends.
  std::int64_t wrong(std::string_view address, std::string_view credential_id, io::Instant now);
  std::size_t size() const;

 private:
  struct Entry {
    std::string key;
    io::Instant since;
    int count;
  };
  struct Shard {
    mutable std::mutex mutex;
    std::list<Entry> entries;  // most recently wrong first
    std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key;  // views of Entry::key
  };
  static constexpr std::size_t kShards = 16;

  std::size_t entries_per_shard_;
  std::vector<Shard> shards_;
  io::Gauge entries_gauge_;
  io::Counter wrong_;
  io::Counter damped_;
};

}  // namespace weir::server
