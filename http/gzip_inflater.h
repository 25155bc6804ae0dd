#pragma once
// GzipInflater: removes Content-Encoding gzip (or x-gzip) from a request body, streaming and
// sans-IO. Owned by the handler that reads the body; one thread. Bounded: inflated bytes in all,
// and inflation by more than kGzipRatioMax once past kGzipGraceBytes, so that a small request
// cannot cost much. Fails with limit (those bounds), corrupt (not gzip, damaged, cut short, bytes
// behind the end). Format: RFC 1952, one member, which is what git and JGit send.

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "io/error.h"

namespace weir::http {

inline constexpr std::uint64_t kGzipRatioMax = 100;            // text of object ids reaches ~2
inline constexpr std::uint64_t kGzipGraceBytes = 1024 * 1024;  // inflated bytes free of the ratio

// "gzip" or "x-gzip" in any case.
bool is_gzip_coding(std::string_view content_encoding);

class GzipInflater {
 public:
  explicit GzipInflater(std::uint64_t inflated_bytes_max);
  ~GzipInflater();
  GzipInflater(const GzipInflater&) = delete;
  GzipInflater& operator=(const GzipInflater&) = delete;

  // Takes bytes off the front of `input` and fills `out` from its start; returns how many it wrote.
  // Call again while it returns out.size() or `input` is not empty.
  io::Result<std::size_t> inflate(std::span<const std::uint8_t>& input,
                                  std::span<std::uint8_t> out);
  // The body is complete: an error if the gzip stream is not.
  io::Result<void> finish() const;
  std::uint64_t inflated_bytes() const { return inflated_bytes_; }

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::uint64_t inflated_bytes_max_;
  std::uint64_t inflated_bytes_ = 0;
  std::uint64_t compressed_bytes_ = 0;
  bool ended_ = false;
};

}  // namespace weir::http
