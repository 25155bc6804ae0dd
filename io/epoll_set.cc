#include "io/epoll_set.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace weir::io {
namespace {

constexpr std::uint64_t kWakeTag = ~std::uint64_t{0};

std::uint64_t tag_of(int fd, std::uint32_t generation) {
  return (std::uint64_t{generation} << 32) | static_cast<std::uint32_t>(fd);
}

// Rounded up: a timer must not fire early.
int timeout_ms(std::optional<Instant> until) {
  if (!until) return -1;
  const Instant now = std::chrono::steady_clock::now();
  if (*until <= now) return 0;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - now).count();
  return static_cast<int>(std::min<std::int64_t>(left, INT_MAX));
}

}  // namespace

Result<void> EpollSet::create() {
  epoll_fd_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_fd_.valid()) return fail_errno("epoll_create1");
  wake_fd_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_fd_.valid()) return fail_errno("eventfd");
  // Edge-triggered: every write is told once, and nobody has to read it away.
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = kWakeTag}};
  if (::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, wake_fd_.get(), &event) != 0) {
    return fail_errno("epoll_ctl wake descriptor");
  }
  return {};
}

void EpollSet::wake() {
  ::eventfd_write(wake_fd_.get(), 1);
}

EpollEntry* EpollSet::entry(int fd) {
  if (fd < 0) return nullptr;
  const auto index = static_cast<std::size_t>(fd);
  if (index >= entries_.size()) {
    if (::fcntl(fd, F_GETFD) < 0) return nullptr;  // no table for a number that is none
    while (entries_.size() <= index) entries_.emplace_back();
  }
  return &entries_[index];
}

int EpollSet::arm(int fd, EpollEntry& entry, std::uint32_t events) {
  // At most twice: what we believe, and what the kernel then tells.
  for (int tries = 0; tries < 2; ++tries) {
    if (!entry.registered) ++entry.generation;
    epoll_event event{.events = events | EPOLLONESHOT,
                      .data = {.u64 = tag_of(fd, entry.generation)}};
    const int how = entry.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (::epoll_ctl(epoll_fd_.get(), how, fd, &event) == 0) {
      entry.registered = true;
      entry.armed = events;
      return 0;
    }
    entry.armed = 0;
    if (errno == ENOENT && entry.registered) {  // closed meanwhile; the number is another file's
      entry.registered = false;
    } else if (errno == EEXIST && !entry.registered) {
      entry.registered = true;
    } else {
      return errno;
    }
  }
  return EBADF;
}

void EpollSet::disarm(int fd, EpollEntry& entry) {
  if (entry.armed == 0) return;
  epoll_event unused{};
  ::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, fd, &unused);  // fails if it is closed: as good
  forget(entry);
}

std::span<const epoll_event> EpollSet::wait(std::optional<Instant> until) {
  const int count = ::epoll_wait(epoll_fd_.get(), events_.data(), static_cast<int>(events_.size()),
                                 timeout_ms(until));
  WEIR_CHECK(count >= 0 || errno == EINTR);
  return std::span(events_).first(static_cast<std::size_t>(std::max(count, 0)));
}

EpollEntry* EpollSet::fired(const epoll_event& event) {
  if (event.data.u64 == kWakeTag) return nullptr;
  const auto fd = static_cast<std::uint32_t>(event.data.u64);
  EpollEntry& entry = entries_[fd];
  if (static_cast<std::uint32_t>(event.data.u64 >> 32) != entry.generation) return nullptr;
  entry.armed = 0;
  return &entry;
}

}  // namespace weir::io
