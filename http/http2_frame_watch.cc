#include "http/http2_frame_watch.h"

#include <algorithm>

namespace weir::http {

Http2FrameWatch::Piece Http2FrameWatch::next(std::span<const std::uint8_t> bytes) {
  Piece piece;
  if (left_ == 0) {
    piece.bytes = std::min(head_.size() - head_bytes_, bytes.size());
    std::copy_n(bytes.begin(), piece.bytes,
                head_.begin() + static_cast<std::ptrdiff_t>(head_bytes_));
    head_bytes_ += piece.bytes;
    if (head_bytes_ < head_.size()) return piece;
    head_bytes_ = 0;
    left_ = static_cast<std::size_t>(head_[0] << 16 | head_[1] << 8 | head_[2]);
    piece.begins = true;
    piece.type = head_[3];
    piece.stream = (head_[5] & 0x7f) << 24 | head_[6] << 16 | head_[7] << 8 | head_[8];
  }
  const std::size_t more = std::min(left_, bytes.size() - piece.bytes);
  left_ -= more;
  piece.bytes += more;
  return piece;
}

void Http2FrameWatch::reset_sent(std::int32_t stream) {
  if (resets_.size() < kResetsRemembered) {
    resets_.push_back(stream);
    return;
  }
  resets_[oldest_] = stream;
  oldest_ = (oldest_ + 1) % kResetsRemembered;
}

bool Http2FrameWatch::was_reset(std::int32_t stream) const {
  return std::ranges::find(resets_, stream) != resets_.end();
}

}  // namespace weir::http
