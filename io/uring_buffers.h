#pragma once
// UringBuffers: the receive buffers of one ring, lent to the kernel through a provided-buffer ring
// and by the kernel to the receiver of bytes. Fixed in number and size; pages are touched only when
// used. Owned by its UringBackend and destroyed after the ring has gone. Loop thread only.

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "io/error.h"
#include "io/page_mapping.h"
#include "io/uring_backend.h"

namespace weir::io {

class UringBuffers {
 public:
  static constexpr int kGroup = 0;

  // Registers them with `ring`: all are the kernel's to lend.
  Result<void> create(io_uring* ring, const UringOptions& options);
  std::span<std::uint8_t> lent(std::uint16_t id, std::size_t bytes) const;
  void give_back(std::uint16_t id);

 private:
  std::uint8_t* at(std::uint16_t id) const {
    return static_cast<std::uint8_t*>(buffers_.data()) + std::size_t{id} * bytes_each_;
  }
  PageMapping ring_pages_;
  PageMapping buffers_;
  io_uring_buf_ring* ring_ = nullptr;
  unsigned count_ = 0;
  unsigned bytes_each_ = 0;
};

}  // namespace weir::io
