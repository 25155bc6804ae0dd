#include "http/chunked_decoder.h"

#include <algorithm>

#include "http/http1_chars.h"

namespace weir::http {
namespace {

constexpr std::size_t kSizeDigitsMax = 15;  // 60 bits: sums of sizes cannot overflow

}  // namespace

ChunkedDecoder::Status ChunkedDecoder::refuse(const char* reason) {
  state_ = State::failed;
  reason_ = reason;
  return Status::error;
}

ChunkedDecoder::Status ChunkedDecoder::decode(std::span<const std::uint8_t>& input,
                                              std::size_t data_bytes_max,
                                              std::span<const std::uint8_t>& data) {
  data = {};
  if (state_ == State::done) return Status::complete;
  while (!input.empty()) {
    if (state_ == State::failed) return Status::error;
    if (state_ == State::data) {
      const std::size_t bytes = static_cast<std::size_t>(
          std::min<std::uint64_t>({input.size(), data_bytes_max, chunk_left_}));
      data = input.first(bytes);
      input = input.subspan(bytes);
      chunk_left_ -= bytes;
      if (chunk_left_ == 0) state_ = State::data_cr;
      return Status::data;
    }
    const char c = static_cast<char>(input.front());
    input = input.subspan(1);
    if (!step(c)) return Status::error;
    if (state_ == State::done) return Status::complete;
  }
  return Status::need_more;
}

bool ChunkedDecoder::step(char c) {
  const auto refused = [this](const char* reason) {
    refuse(reason);
    return false;
  };
  switch (state_) {
    case State::size_first:
    case State::size: {
      const int digit = hex_digit(c);
      if (digit >= 0) {
        if (++digits_ > kSizeDigitsMax) return refused("a chunk size is too long");
        chunk_left_ = chunk_left_ * 16 + static_cast<std::uint64_t>(digit);
        state_ = State::size;
        return true;
      }
      if (state_ == State::size_first) return refused("a chunk has no size");
      if (c == '\r') {
        state_ = State::size_lf;
        return true;
      }
      if (c != ';') return refused("a chunk size is malformed");
      state_ = State::extension;
      [[fallthrough]];
    }
    case State::extension:
      if (c == '\r') {
        state_ = State::size_lf;
        return true;
      }
      if (!is_char(c, kValueChar)) return refused("a chunk extension holds a control byte");
      if (++extension_bytes_ > kChunkExtensionBytesMax) {
        return refused("the chunk extensions are too long");
      }
      return true;
    case State::size_lf:
      if (c != '\n') return refused("a chunk size line does not end in CR LF");
      state_ = chunk_left_ == 0 ? State::trailer_start : State::data;
      return true;
    case State::data_cr:
      if (c != '\r') return refused("a chunk does not end in CR LF");
      state_ = State::data_lf;
      return true;
    case State::data_lf:
      if (c != '\n') return refused("a chunk does not end in CR LF");
      state_ = State::size_first;
      digits_ = 0;
      return true;
    case State::trailer_start:
      if (c == '\r') {
        state_ = State::final_lf;
        return true;
      }
      if (!is_char(c, kTokenChar)) return refused("a trailer field is malformed");
      state_ = State::trailer_name;
      break;
    case State::trailer_name:
      if (c == ':') {
        state_ = State::trailer_value;
      } else if (!is_char(c, kTokenChar)) {
        return refused("a trailer field is malformed");
      }
      break;
    case State::trailer_value:
      if (c == '\r') {
        state_ = State::trailer_lf;
      } else if (!is_char(c, kValueChar)) {
        return refused("a trailer field holds a control byte");
      }
      break;
    case State::trailer_lf:
      if (c != '\n') return refused("a trailer line does not end in CR LF");
      state_ = State::trailer_start;
      break;
    case State::final_lf:
      if (c != '\n') return refused("the body does not end in CR LF");
      state_ = State::done;
      return true;
    case State::data:
    case State::done:
    case State::failed:
      return true;  // handled by decode()
  }
  if (++trailer_bytes_ > kTrailerBytesMax) return refused("the trailers are too long");
  return true;
}

}  // namespace weir::http
