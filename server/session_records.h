#pragma once
// SessionRecords: what was advertised to a session (connection, principal, repository) a short
// while ago, so that a ref that moves between the GET and the POST of one fetch does not refuse the
// fetch. A direct-mapped table of kSessionRecords entries a loop: a collision forgets the older
// session, which then only loses this grace. Entries count for kSessionGrace. Each keeps a snapshot
// alive, which may be large and the last of its kind: while all ref snapshots together hold more
// than kRefLiveBytesMax, every new session makes the oldest snapshot here go. Loop thread only.
// Metrics: weir_session_records, weir_session_records_dropped_total.

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "git/ref_memory.h"
#include "git/ref_snapshot.h"
#include "git/ref_store.h"
#include "git/repository.h"
#include "io/clock.h"
#include "io/metrics.h"

namespace weir::server {

inline constexpr std::size_t kSessionRecords = 1024;  // x one snapshot reference
inline constexpr io::Duration kSessionGrace = std::chrono::seconds(60);
// What the store may keep, and as much again as half of it for what sessions and requests pin.
inline constexpr std::size_t kRefLiveBytesMax = git::kRefStoreBytesMax + git::kRefStoreBytesMax / 2;
static_assert((kSessionRecords & (kSessionRecords - 1)) == 0);

class SessionRecords {
 public:
  // `live_bytes`: of all ref snapshots.
  explicit SessionRecords(std::size_t (*live_bytes)() = git::RefMemory::live_bytes);
  ~SessionRecords() { clear(); }
  void remember(std::uint64_t connection_id, const std::string& token_id,
                const git::RepositoryId& repository,
                std::shared_ptr<const git::RefSnapshot> snapshot, io::Instant now);
  // What that session was shown within the grace; null if nothing.
  std::shared_ptr<const git::RefSnapshot> shown(std::uint64_t connection_id,
                                                const std::string& token_id,
                                                const git::RepositoryId& repository,
                                                io::Instant now) const;
  // Drops snapshots older than the grace, so that they do not hold memory. About once a second.
  void expire(io::Instant now);
  // After a change of rights nothing that was shown before counts any more.
  void clear();

 private:
  struct Record {
    std::uint64_t connection_id = 0;
    std::string token_id;
    git::RepositoryId repository;
    std::shared_ptr<const git::RefSnapshot> snapshot;
    io::Instant at{};
  };
  void forget(Record& record);
  void relieve();
  static std::size_t slot(std::uint64_t connection_id, const git::RepositoryId& repository);

  std::size_t (*const live_bytes_)();
  std::array<Record, kSessionRecords> records_;
  io::Gauge held_;
  io::Counter dropped_;
};

}  // namespace weir::server
