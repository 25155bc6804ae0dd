#pragma once
// Output buffers of one loop: fixed size, handed out only while output exists. Keeps at most
// kOutputBuffersKept free ones; the number lent out is bounded by the open streams and is a gauge.
// Loop thread only (thread-local instance).

#include <cstddef>
#include <cstdint>
#include <memory>

namespace weir::io {

// Four maximal TLS records: header 5 + 16384 + at most 32 of tag and content type.
inline constexpr std::size_t kTlsRecordBytesMax = 5 + 16384 + 32;
// Beside the four records of bulk one small one may go out: the answer to a key update.
inline constexpr std::size_t kTlsSmallRecordBytesMax = 64;
inline constexpr std::size_t kOutputBufferBytes = 4 * kTlsRecordBytesMax + kTlsSmallRecordBytesMax;
inline constexpr std::size_t kOutputBuffersKept = 32;  // 2 MiB a loop
static_assert(kOutputBufferBytes * kOutputBuffersKept <= 3 * 1024 * 1024);
static_assert(kTlsRecordBytesMax > 16384, "a record is its plaintext and more");

struct OutputBufferReturn {
  void operator()(std::uint8_t* buffer) const;
};
using OutputBuffer = std::unique_ptr<std::uint8_t[], OutputBufferReturn>;

OutputBuffer take_output_buffer();
std::int64_t output_buffers_lent();

}  // namespace weir::io
