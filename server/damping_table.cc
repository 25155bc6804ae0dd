#include "server/damping_table.h"

#include <algorithm>

#include "server/client_address.h"

namespace weir::server {
namespace {

// A subscriber of IPv6 holds a /64 at least: its addresses count as one.
std::string key_of(std::string_view address, std::string_view credential_id) {
  std::string key;
  if (const auto parsed = parse_address(address)) {
    const std::size_t bytes = is_ipv4(*parsed) ? 16 : 8;
    key.assign(reinterpret_cast<const char*>(parsed->data()), bytes);
  } else {
    key = address;
  }
  key += '\0';
  key += credential_id;
  return key;
}

}  // namespace

DampingTable::DampingTable(std::size_t entries_max)
    : entries_per_shard_(std::max<std::size_t>(1, entries_max / kShards)), shards_(kShards) {
  io::Metrics& metrics = io::Metrics::instance();
  entries_gauge_ = metrics.gauge("weir_damping_entries", "",
                                 "Addresses and credentials that were wrong lately.");
  wrong_ = metrics.counter("weir_credentials_wrong_total", "", "Wrong credentials.");
  damped_ = metrics.counter("weir_credentials_damped_total", "",
                            "Wrong credentials answered with 429 for their number.");
}

std::int64_t DampingTable::wrong(std::string_view address, std::string_view credential_id,
                                 io::Instant now) {
  std::string key = key_of(address, credential_id);
  Shard& shard = shards_[std::hash<std::string_view>()(key) % kShards];
  wrong_.add();
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.by_key.find(key);
  if (found == shard.by_key.end()) {
    if (shard.entries.size() == entries_per_shard_) {
      shard.by_key.erase(shard.entries.back().key);
      shard.entries.pop_back();
      entries_gauge_.add(-1);
    }
    entries_gauge_.add(1);
    shard.entries.push_front({std::move(key), now, 1});
    shard.by_key.emplace(shard.entries.front().key, shard.entries.begin());
    return 0;
  }
  Entry& entry = *found->second;
  shard.entries.splice(shard.entries.begin(), shard.entries, found->second);
  if (now - entry.since >= kWrongWindow) {
    entry.since = now;
    entry.count = 0;
  }
  if (entry.count < kWrongMax) {
    ++entry.count;
    return 0;
  }
  damped_.add();
  return std::chrono::ceil<std::chrono::seconds>(entry.since + kWrongWindow - now).count();
}

std::size_t DampingTable::size() const {
  std::size_t total = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    total += shard.entries.size();
  }
  return total;
}

}  // namespace weir::server
