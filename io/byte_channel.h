#pragma once
// ByteSource and ByteSink: where a service reads a request's body from and writes its answer to, so
// that Git and Mercurial code need not know HTTP. Loop thread only; owned by the request; one call
// in flight each.

#include <cstdint>
#include <span>
#include <string_view>

#include "io/error.h"
#include "io/task.h"

namespace weir::io {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // The next bytes, at least one; empty: complete. Valid until the next call. Errors: closed or
  // cancelled (the peer left), protocol (bad coding), limit (more than is allowed),
  // deadline_exceeded (slower than the minimum rate).
  virtual Task<Result<std::span<const std::uint8_t>>> read() = 0;
};

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  // Before the first write(): the calls to come will take so many bytes in all. Optional; it lets
  // the answer's head say so, and its last bytes end it.
  virtual void announce(std::uint64_t) {}
  // Resumes when all of `bytes` has been taken; borrowed until then. The first call commits the
  // answer's head. Errors: closed or cancelled (the peer left).
  virtual Task<Result<void>> write(std::span<const std::uint8_t> bytes) = 0;
};

inline std::span<const std::uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace weir::io
