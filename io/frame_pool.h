#pragma once
// Memory for coroutine frames: per-thread free lists in 64-byte classes up to kFrameBytesMax,
// larger frames go to the heap. A frame is freed on the thread that made it (tasks never migrate).
// Bounded: at most kFramesKeptMax free frames a class are kept. The count of live frames is a
// gauge.

#include <cstddef>
#include <cstdint>

namespace weir::io {

inline constexpr std::size_t kFrameClassBytes = 64;
inline constexpr std::size_t kFrameBytesMax = 4096;  // the largest frames of the request pipeline
inline constexpr std::size_t kFramesKeptMax = 1024;  // per class: 1,024 requests in flight a loop

void* frame_allocate(std::size_t bytes);
void frame_free(void* frame, std::size_t bytes);

// Frames alive on the calling thread.
std::int64_t frames_live();

}  // namespace weir::io
