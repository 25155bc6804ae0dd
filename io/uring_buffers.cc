#include "io/uring_buffers.h"

#include <bit>

namespace weir::io {

Result<void> UringBuffers::create(io_uring* ring, const UringOptions& options) {
  WEIR_CHECK(std::has_single_bit(options.recv_buffers) && options.recv_buffers < kNoBuffer);
  count_ = options.recv_buffers;
  bytes_each_ = options.recv_buffer_bytes;
  if (!ring_pages_.map(count_ * sizeof(io_uring_buf)) ||
      !buffers_.map(std::size_t{count_} * bytes_each_)) {
    return fail_errno("map receive buffers");
  }
  ring_ = static_cast<io_uring_buf_ring*>(ring_pages_.data());
  io_uring_buf_reg registration{};
  registration.ring_addr = std::bit_cast<std::uint64_t>(ring_);
  registration.ring_entries = count_;
  registration.bgid = kGroup;
  const int refused = -io_uring_register_buf_ring(ring, &registration, 0);
  if (refused != 0) {
    return fail(Errc::system, "register io_uring buffer ring (Linux 5.19 has it)", refused);
  }
  io_uring_buf_ring_init(ring_);
  for (unsigned id = 0; id < count_; ++id) give_back(static_cast<std::uint16_t>(id));
  return {};
}

std::span<std::uint8_t> UringBuffers::lent(std::uint16_t id, std::size_t bytes) const {
  WEIR_CHECK(id < count_ && bytes <= bytes_each_);
  return {at(id), bytes};
}

void UringBuffers::give_back(std::uint16_t id) {
  WEIR_CHECK(id < count_);
  io_uring_buf_ring_add(ring_, at(id), bytes_each_, id, static_cast<int>(count_ - 1), 0);
  io_uring_buf_ring_advance(ring_, 1);
}

}  // namespace weir::io
