#pragma once
// ChunkedDecoder: removes the chunked transfer coding, sans-IO and without copying: each step lends
// a span of its input. Owned by its session; loop thread only. Bounded: sizes of at most 15 digits,
// kChunkExtensionBytesMax of extensions and kTrailerBytesMax of trailers a body; trailers are
// checked and dropped. Anything else is an error after which the connection cannot be used. Format:
// RFC 9112 7.1.

#include <cstdint>
#include <span>

namespace weir::http {

inline constexpr std::size_t kChunkExtensionBytesMax = 256;
inline constexpr std::size_t kTrailerBytesMax = 4 * 1024;

class ChunkedDecoder {
 public:
  enum class Status : std::uint8_t { need_more, data, complete, error };

  // Takes bytes off the front of `input`. data: `data` lends at least one byte of the body, at most
  // `data_bytes_max` (at least 1). need_more: `input` is used up.
  Status decode(std::span<const std::uint8_t>& input, std::size_t data_bytes_max,
                std::span<const std::uint8_t>& data);
  // Static text, after Status::error.
  const char* reason() const { return reason_; }

 private:
  enum class State : std::uint8_t {
    size_first,  // at least one digit
    size,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,  // CR here ends the body
    trailer_name,
    trailer_value,
    trailer_lf,
    final_lf,
    done,
    failed,
  };

  Status refuse(const char* reason);
  // One framing byte; false: refused.
  bool step(char c);

  State state_ = State::size_first;
  std::uint64_t chunk_left_ = 0;
  std::size_t digits_ = 0;
  std::size_t extension_bytes_ = 0;
  std::size_t trailer_bytes_ = 0;
  const char* reason_ = "";
};

}  // namespace weir::http
