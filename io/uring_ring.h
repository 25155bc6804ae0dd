#pragma once
// UringRing: one io_uring, made by trying: setup flags from the best rung down, then the features
// and operations Weir cannot do without. Once it runs it does only those: system call filters do
// not see what a ring is asked to do. Owned by its UringBackend; a failure on the way releases all.

#include <liburing.h>
#include <sys/types.h>

#include <memory>

#include "io/error.h"
#include "io/uring_backend.h"

namespace weir::io {

class UringRing {
 public:
  static Result<std::unique_ptr<UringRing>> create(const UringOptions& options);
  ~UringRing();
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;

  // Makes the calling thread the only one that submits. Once.
  Result<void> bind_to_thread(const UringOptions& options);
  bool bound() const { return bound_thread_ != 0; }
  bool bound_here() const;

  io_uring* get() { return &ring_; }
  int fd() const { return ring_.ring_fd; }
  bool has_msg_ring() const { return has_msg_ring_; }
  // "defer_taskrun, CQ 8192, registered": for describe().
  std::string describe() const;

 private:
  UringRing() = default;
  Result<void> set_up(const UringOptions& options);
  Result<void> check_parts();
  bool restrict_operations();

  io_uring ring_{};
  bool made_ = false;
  const char* rung_name_ = "";
  bool has_msg_ring_ = false;
  bool fd_registered_ = false;
  bool restricted_ = false;
  pid_t bound_thread_ = 0;
};

}  // namespace weir::io
