#include "http/gzip_inflater.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "http/message.h"
#include "io/check.h"

namespace weir::http {
namespace {

constexpr int kGzipOnly = 16 + MAX_WBITS;

uInt clamp(std::size_t bytes) {
  return static_cast<uInt>(std::min<std::size_t>(bytes, std::numeric_limits<uInt>::max()));
}

}  // namespace

struct GzipInflater::State {
  z_stream stream{};
};

bool is_gzip_coding(std::string_view content_encoding) {
  return equals_ignoring_case(content_encoding, "gzip") ||
         equals_ignoring_case(content_encoding, "x-gzip");
}

GzipInflater::GzipInflater(std::uint64_t inflated_bytes_max)
    : state_(std::make_unique<State>()), inflated_bytes_max_(inflated_bytes_max) {
  // Can only fail for want of memory, which ends the process like any other allocation.
  WEIR_CHECK(inflateInit2(&state_->stream, kGzipOnly) == Z_OK);
}

GzipInflater::~GzipInflater() {
  inflateEnd(&state_->stream);
}

io::Result<std::size_t> GzipInflater::inflate(std::span<const std::uint8_t>& input,
                                              std::span<std::uint8_t> out) {
  if (ended_) {
    if (!input.empty()) return io::fail(io::Errc::corrupt, "bytes behind the gzip body");
    return 0;
  }
  z_stream& stream = state_->stream;
  stream.next_in = const_cast<Bytef*>(input.data());  // zlib does not write to it
  stream.avail_in = clamp(input.size());
  stream.next_out = out.data();
  stream.avail_out = clamp(out.size());
  const int status = ::inflate(&stream, Z_NO_FLUSH);
  const std::size_t taken = clamp(input.size()) - stream.avail_in;
  const std::size_t made = clamp(out.size()) - stream.avail_out;
  input = input.subspan(taken);
  compressed_bytes_ += taken;
  inflated_bytes_ += made;
  if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
    return io::fail(io::Errc::corrupt, "inflate gzip body");
  }
  if (inflated_bytes_ > inflated_bytes_max_) {
    return io::fail(io::Errc::limit, "gzip body inflates beyond its limit");
  }
  if (inflated_bytes_ > kGzipGraceBytes && inflated_bytes_ / kGzipRatioMax > compressed_bytes_) {
    return io::fail(io::Errc::limit, "gzip body inflates too much for its size");
  }
  ended_ = status == Z_STREAM_END;
  if (ended_ && !input.empty()) return io::fail(io::Errc::corrupt, "bytes behind the gzip body");
  return made;
}

io::Result<void> GzipInflater::finish() const {
  if (!ended_) return io::fail(io::Errc::corrupt, "gzip body is cut short");
  return {};
}

}  // namespace weir::http
