#include "io/tls_tickets.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "io/digest.h"

namespace weir::io {
namespace {

constexpr std::int64_t kRotationNs = kTicketRotation.count();

TicketKey random_key() {
  TicketKey key;
  fill_random(key.name);
  fill_random(key.aes_key);
  fill_random(key.hmac_key);
  return key;
}

template <typename T>
void wipe_object(T& object) {
  wipe({reinterpret_cast<std::uint8_t*>(&object), sizeof object});
}

// Held around read-change-write of the shared file. POSIX locks, because the processes that share
// it inherited one open file description; held for microseconds.
class FileLock {
 public:
  explicit FileLock(int fd) : fd_(fd) { set(F_WRLCK); }
  ~FileLock() { set(F_UNLCK); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  void set(short type) const {
    struct flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    while (fcntl(fd_, F_SETLKW, &lock) != 0 && errno == EINTR) {
    }
  }
  int fd_;
};

}  // namespace

Result<std::shared_ptr<TicketKeys>> TicketKeys::create(std::int64_t unix_now_ns) {
  std::shared_ptr<TicketKeys> keys(new TicketKeys());
  for (TicketKey& key : keys->state_.keys) key = random_key();
  keys->state_.rotated_unix_ns = unix_now_ns;
  return keys;
}

Result<std::shared_ptr<TicketKeys>> TicketKeys::open_shared(int fd, std::int64_t unix_now_ns) {
  Result<std::shared_ptr<TicketKeys>> keys = create(unix_now_ns);
  State& state = (*keys)->state_;
  const FileLock lock(fd);
  State stored;
  const ssize_t bytes = pread(fd, &stored, sizeof stored, 0);
  if (bytes < 0) return fail_errno("read ticket keys");
  if (bytes == sizeof stored && stored.rotated_unix_ns != 0) {
    state = stored;
  } else if (pwrite(fd, &state, sizeof state, 0) != sizeof state) {
    return fail_errno("store ticket keys");
  }
  wipe_object(stored);
  (*keys)->shared_fd_ = fd;
  return keys;
}

TicketKeys::~TicketKeys() {
  wipe_object(state_);
}

void TicketKeys::rotate_if_due(std::int64_t unix_now_ns) {
  const std::lock_guard guard(mutex_);
  if (unix_now_ns - state_.rotated_unix_ns < kRotationNs) return;
  std::optional<FileLock> lock;
  if (shared_fd_ >= 0) {
    lock.emplace(shared_fd_);
    State stored;
    // Another process may have rotated first: its keys are then ours.
    if (pread(shared_fd_, &stored, sizeof stored, 0) == sizeof stored &&
        stored.rotated_unix_ns > state_.rotated_unix_ns) {
      state_ = stored;
    }
    wipe_object(stored);
  }
  bool rotated = false;
  // After a long sleep every key is too old; three rotations replace them all.
  for (int i = 0; i < 3 && unix_now_ns - state_.rotated_unix_ns >= kRotationNs; ++i) {
    state_.keys = {state_.keys[1], state_.keys[2], random_key()};
    state_.rotated_unix_ns += kRotationNs;
    rotated = true;
  }
  if (!rotated) return;
  if (unix_now_ns - state_.rotated_unix_ns >= kRotationNs) state_.rotated_unix_ns = unix_now_ns;
  // A failed write leaves the old keys to the successor: its clients do a full handshake.
  if (shared_fd_ >= 0) (void)!pwrite(shared_fd_, &state_, sizeof state_, 0);
}

TicketKey TicketKeys::current() const {
  const std::lock_guard guard(mutex_);
  return state_.keys[1];
}

bool TicketKeys::find(const std::uint8_t* name, TicketKey& key, bool& renew) const {
  const std::lock_guard guard(mutex_);
  for (std::size_t i = 0; i < state_.keys.size(); ++i) {
    const TicketKey& candidate = state_.keys[i];
    if (std::memcmp(candidate.name.data(), name, candidate.name.size()) != 0) continue;
    key = candidate;
    renew = i == 0;
    return true;
  }
  return false;
}

}  // namespace weir::io
