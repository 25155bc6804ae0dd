#include "server/body_adapters.h"

#include <utility>

namespace weir::server {
namespace {

// One step; held only by gzip bodies. After each, others have their turn: what has arrived can
// inflate to a hundred times its size.
constexpr std::size_t kInflateBytes = 16 * 1024;

}  // namespace

RequestBody::RequestBody(http::Exchange& exchange, LiveRequest& live, bool gzip,
                         std::uint64_t bytes_max)
    : exchange_(exchange), live_(live), bytes_max_(bytes_max) {
  if (gzip) inflater_ = std::make_unique<http::GzipInflater>(bytes_max);
}

io::Task<io::Result<std::span<const std::uint8_t>>> RequestBody::read() {
  io::Result<std::span<const std::uint8_t>> bytes = std::span<const std::uint8_t>{};
  if (inflater_ != nullptr) {
    bytes = co_await read_inflated();
  } else {
    bytes = co_await exchange_.read_body();
  }
  if (bytes) {
    bytes_ += bytes->size();
    live_.bytes_in.store(exchange_.body_bytes_received(), std::memory_order_relaxed);
    if (bytes_ > bytes_max_) bytes = io::fail(io::Errc::limit, "request body");
  }
  if (!bytes) error_ = bytes.error();
  co_return bytes;
}

io::Task<io::Result<std::span<const std::uint8_t>>> RequestBody::read_inflated() {
  inflated_.resize(kInflateBytes);
  while (true) {
    if (!compressed_.empty() || more_inflated_) {
      const io::Result<std::size_t> got = inflater_->inflate(compressed_, inflated_);
      if (!got) {
        // Damaged gzip is the client's doing, not ours.
        const io::Errc code =
            got.error().code == io::Errc::corrupt ? io::Errc::protocol : got.error().code;
        co_return io::fail(code, "gzip body");
      }
      more_inflated_ = *got == inflated_.size();
      if (*got > 0) {
        inflated_since_turn_ += *got;
        if (inflated_since_turn_ >= kInflateBytes) {
          inflated_since_turn_ = 0;
          (void)co_await turn_.wait();
        }
        co_return std::span<const std::uint8_t>(inflated_.data(), *got);
      }
      if (!compressed_.empty()) continue;
    }
    const io::Result<std::span<const std::uint8_t>> more = co_await exchange_.read_body();
    if (!more) co_return more;
    if (more->empty()) {
      if (!inflater_->finish()) co_return io::fail(io::Errc::protocol, "gzip body");
      co_return std::span<const std::uint8_t>{};
    }
    compressed_ = *more;
  }
}

ResponseBody::ResponseBody(http::Exchange& exchange, LiveRequest& live, http::ResponseHead head,
                           io::WriteFlow flow)
    : exchange_(exchange), live_(live), head_(std::move(head)), flow_(flow) {}

io::Task<io::Result<void>> ResponseBody::write(std::span<const std::uint8_t> bytes) {
  if (!committed_) {
    committed_ = true;
    exchange_.start_response(std::move(head_), flow_);
  }
  const io::Result<void> written = co_await exchange_.write(bytes);
  if (written) live_.bytes_out.fetch_add(bytes.size(), std::memory_order_relaxed);
  co_return written;
}

void ResponseBody::commit_empty() {
  committed_ = true;
  head_.content_length = 0;
  exchange_.start_response(std::move(head_), flow_);
}

}  // namespace weir::server
