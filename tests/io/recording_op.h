#pragma once
// RecordingOp: an Op that keeps its completions, and a listening socket to try it on.

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <vector>

#include "io/op.h"

namespace weir::io {

struct RecordingOp : Op {
  RecordingOp(OpKind op_kind, int op_fd) {
    kind = op_kind;
    fd = op_fd;
    on_complete = [](Op& self, const Completion& completion) {
      static_cast<RecordingOp&>(self).seen.push_back(completion);
    };
  }
  bool done() const { return !in_flight(); }
  std::vector<Completion> seen;
};

inline int listening_socket(sockaddr_in& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), bytes), 0);
  EXPECT_EQ(::listen(fd, 64), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  return fd;
}

}  // namespace weir::io
