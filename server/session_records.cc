#include "server/session_records.h"

namespace weir::server {

SessionRecords::SessionRecords(std::size_t (*live_bytes)())
    : live_bytes_(live_bytes),
      held_(io::Metrics::instance().gauge("weir_session_records", "",
                                          "Sessions whose shown refs are remembered.")),
      dropped_(io::Metrics::instance().counter(
          "weir_session_records_dropped_total", "",
          "Sessions forgotten early because ref snapshots held too much memory.")) {}

std::size_t SessionRecords::slot(std::uint64_t connection_id, const git::RepositoryId& repository) {
  const std::uint64_t mixed =
      (connection_id ^ git::RepositoryIdHash{}(repository)) * 0x9e3779b97f4a7c15U;
  return static_cast<std::size_t>(mixed >> 40) & (kSessionRecords - 1);
}

void SessionRecords::remember(std::uint64_t connection_id, const std::string& token_id,
                              const git::RepositoryId& repository,
                              std::shared_ptr<const git::RefSnapshot> snapshot, io::Instant now) {
  relieve();
  Record& record = records_[slot(connection_id, repository)];
  if (record.snapshot == nullptr) held_.add(1);
  record.connection_id = connection_id;
  record.token_id = token_id;
  record.repository = repository;
  record.snapshot = std::move(snapshot);
  record.at = now;
}

std::shared_ptr<const git::RefSnapshot> SessionRecords::shown(std::uint64_t connection_id,
                                                              const std::string& token_id,
                                                              const git::RepositoryId& repository,
                                                              io::Instant now) const {
  const Record& record = records_[slot(connection_id, repository)];
  const bool same = record.connection_id == connection_id && record.token_id == token_id &&
                    record.repository == repository && now - record.at <= kSessionGrace;
  return same ? record.snapshot : nullptr;
}

void SessionRecords::forget(Record& record) {
  if (record.snapshot == nullptr) return;
  record = {};
  held_.add(-1);
}

// The snapshot of the oldest record goes, with all records of it. One at a time: what is let go is
// freed elsewhere, a moment later.
void SessionRecords::relieve() {
  if (live_bytes_() <= kRefLiveBytesMax) return;
  const Record* oldest = nullptr;
  for (const Record& record : records_) {
    if (record.snapshot == nullptr) continue;
    if (oldest == nullptr || record.at < oldest->at) oldest = &record;
  }
  if (oldest == nullptr) return;
  const std::shared_ptr<const git::RefSnapshot> going = oldest->snapshot;
  for (Record& record : records_) {
    if (record.snapshot != going) continue;
    forget(record);
    dropped_.add();
  }
}

void SessionRecords::expire(io::Instant now) {
  for (Record& record : records_) {
    if (now - record.at > kSessionGrace) forget(record);
  }
  relieve();
}

void SessionRecords::clear() {
  for (Record& record : records_) forget(record);
}

}  // namespace weir::server
