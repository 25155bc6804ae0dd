#include "io/descriptor_passing.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "io/check.h"

namespace weir::io {
namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(kDescriptorsPassedMax * sizeof(int));

}  // namespace

Result<std::array<UniqueFd, 2>> make_message_socket_pair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno("socketpair");
  }
  return std::array<UniqueFd, 2>{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<void> send_message(int socket, std::span<const std::uint8_t> bytes,
                          std::span<const int> descriptors) {
  WEIR_CHECK(!bytes.empty());
  WEIR_CHECK(descriptors.size() <= kDescriptorsPassedMax);
  iovec part = {.iov_base = const_cast<std::uint8_t*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[kControlBytes];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    std::memset(control, 0, message.msg_controllen);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  for (;;) {
    if (sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == ENOBUFS) return fail(Errc::limit, "send message");
    if (errno == EPIPE || errno == ECONNRESET) return fail(Errc::closed, "send message");
    return fail_errno("send message");
  }
}

Result<ReceivedMessage> receive_message(int socket, std::span<std::uint8_t> buffer) {
  iovec part = {.iov_base = buffer.data(), .iov_len = buffer.size()};
  alignas(cmsghdr) char control[kControlBytes];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t bytes = 0;
  do {
    bytes = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (bytes < 0 && errno == EINTR);
  if (bytes < 0 && errno == EAGAIN) return ReceivedMessage{};
  if (bytes < 0 && errno != ECONNRESET) return fail_errno("receive message");
  if (bytes <= 0) return fail(Errc::closed, "receive message");

  ReceivedMessage received;
  received.bytes = static_cast<std::size_t>(bytes);
  received.descriptors_lost = (message.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      received.descriptors.emplace_back(fd);
    }
  }
  if ((message.msg_flags & MSG_TRUNC) != 0) return fail(Errc::protocol, "message too long");
  return received;
}

}  // namespace weir::io
