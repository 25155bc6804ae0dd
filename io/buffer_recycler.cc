#include "io/buffer_recycler.h"

#include <array>

#include "io/check.h"

namespace weir::io {
namespace {

struct Recycler {
  std::array<std::uint8_t*, kOutputBuffersKept> kept{};
  std::size_t kept_count = 0;
  std::int64_t lent = 0;

  ~Recycler() {
    while (kept_count > 0) delete[] kept[--kept_count];
  }
};

thread_local Recycler recycler;

}  // namespace

void OutputBufferReturn::operator()(std::uint8_t* buffer) const {
  WEIR_CHECK(recycler.lent > 0);  // returned on the thread that took it
  --recycler.lent;
  if (recycler.kept_count < kOutputBuffersKept) {
    recycler.kept[recycler.kept_count++] = buffer;
  } else {
    delete[] buffer;
  }
}

OutputBuffer take_output_buffer() {
  ++recycler.lent;
  if (recycler.kept_count > 0) return OutputBuffer(recycler.kept[--recycler.kept_count]);
  return OutputBuffer(new std::uint8_t[kOutputBufferBytes]);
}

std::int64_t output_buffers_lent() {
  return recycler.lent;
}

}  // namespace weir::io
