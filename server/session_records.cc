#include "server/session_records.h"

namespace weir::server {

std::size_t SessionRecords::slot(std::uint64_t connection_id, const git::RepositoryId& repository) {
  const std::uint64_t mixed =
      (connection_id ^ git::RepositoryIdHash{}(repository)) * 0x9e3779b97f4a7c15U;
  return static_cast<std::size_t>(mixed >> 40) & (kSessionRecords - 1);
}

void SessionRecords::remember(std::uint64_t connection_id, const std::string& token_id,
                              const git::RepositoryId& repository,
                              std::shared_ptr<const git::RefSnapshot> snapshot, io::Instant now) {
  Record& record = records_[slot(connection_id, repository)];
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

void SessionRecords::expire(io::Instant now) {
  for (Record& record : records_) {
    if (record.snapshot != nullptr && now - record.at > kSessionGrace) record = {};
  }
}

}  // namespace weir::server
