#include "io/frame_pool.h"

#include <array>
#include <new>

namespace weir::io {
namespace {

constexpr std::size_t kClasses = kFrameBytesMax / kFrameClassBytes;
static_assert(kFrameBytesMax % kFrameClassBytes == 0);

struct FreeFrame {
  FreeFrame* next;
};

struct FreeList {
  FreeFrame* head = nullptr;
  std::size_t count = 0;
};

struct Pool {
  std::array<FreeList, kClasses> classes;
  std::int64_t live = 0;

  ~Pool() {
    for (FreeList& list : classes) {
      while (list.head != nullptr) {
        FreeFrame* frame = list.head;
        list.head = frame->next;
        ::operator delete(frame);
      }
    }
  }
};

thread_local Pool pool;

std::size_t class_of(std::size_t bytes) {
  return (bytes - 1) / kFrameClassBytes;
}

}  // namespace

void* frame_allocate(std::size_t bytes) {
  ++pool.live;
  if (bytes > kFrameBytesMax) return ::operator new(bytes);
  const std::size_t index = class_of(bytes);
  FreeList& list = pool.classes[index];
  if (list.head == nullptr) return ::operator new((index + 1) * kFrameClassBytes);
  FreeFrame* frame = list.head;
  list.head = frame->next;
  --list.count;
  return frame;
}

void frame_free(void* frame, std::size_t bytes) {
  --pool.live;
  if (bytes <= kFrameBytesMax) {
    FreeList& list = pool.classes[class_of(bytes)];
    if (list.count < kFramesKeptMax) {
      auto* free_frame = static_cast<FreeFrame*>(frame);
      free_frame->next = list.head;
      list.head = free_frame;
      ++list.count;
      return;
    }
  }
  ::operator delete(frame);
}

std::int64_t frames_live() {
  return pool.live;
}

}  // namespace weir::io
