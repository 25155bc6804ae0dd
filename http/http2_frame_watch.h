#pragma once
// Http2FrameWatch: follows where frames begin in what a client sends, so that a frame on a stream
// that is no more can be judged before the library lets it pass without a word. Remembers which
// streams we reset: what their clients sent before they knew is no offence (RFC 9113, 5.1).
// Sans-IO; owned by the session; loop thread only. Bounded: kResetsRemembered, the oldest leave.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace weir::http {

// More than the abuse budget lets a client cause within a round trip (http2_abuse.h).
inline constexpr std::size_t kResetsRemembered = 256;

class Http2FrameWatch {
 public:
  struct Piece {
    std::size_t bytes = 0;  // to give to the library next; never beyond the end of a frame
    bool begins = false;    // its head is whole now: type and stream are told
    std::uint8_t type = 0;
    std::int32_t stream = 0;
  };
  Piece next(std::span<const std::uint8_t> bytes);  // not empty

  void reset_sent(std::int32_t stream);
  bool was_reset(std::int32_t stream) const;

 private:
  std::array<std::uint8_t, 9> head_{};
  std::size_t head_bytes_ = 0;
  std::size_t left_ = 24;  // of the frame under way; at first, of the client's preface
  std::vector<std::int32_t> resets_;
  std::size_t oldest_ = 0;
};

}  // namespace weir::http
