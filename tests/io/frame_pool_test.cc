#include "io/frame_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

namespace weir::io {
namespace {

TEST(FramePool, reuses_a_freed_frame_of_the_same_class) {
  void* const first = frame_allocate(100);
  frame_free(first, 100);
  void* const second = frame_allocate(65);  // 65..128: the same class
  EXPECT_EQ(first, second);
  void* const other = frame_allocate(64);
  EXPECT_NE(other, second);
  frame_free(second, 65);
  frame_free(other, 64);
}

TEST(FramePool, gives_at_least_the_bytes_asked_for) {
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{64}, std::size_t{65}, kFrameBytesMax - 1, kFrameBytesMax,
        kFrameBytesMax + 1, 10 * kFrameBytesMax}) {
    void* const frame = frame_allocate(bytes);
    std::memset(frame, 0xab, bytes);
    frame_free(frame, bytes);
  }
}

TEST(FramePool, counts_live_frames_of_this_thread) {
  const std::int64_t before = frames_live();
  std::vector<void*> frames;
  for (std::size_t i = 0; i < kFramesKeptMax + 10; ++i) frames.push_back(frame_allocate(256));
  EXPECT_EQ(frames_live(), before + static_cast<std::int64_t>(frames.size()));
  std::int64_t elsewhere = -1;
  std::thread([&] { elsewhere = frames_live(); }).join();
  EXPECT_EQ(elsewhere, 0);
  for (void* frame : frames) frame_free(frame, 256);  // more than are kept: the rest is freed
  EXPECT_EQ(frames_live(), before);
}

}  // namespace
}  // namespace weir::io
