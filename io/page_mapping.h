#pragma once
// PageMapping: pages of our own, kept out of forked children, released with the object. What the
// receive buffers of a backend are cut from: pages cost memory only once they are used.

#include <cstddef>

namespace weir::io {

class PageMapping {
 public:
  PageMapping() = default;
  PageMapping(const PageMapping&) = delete;
  PageMapping& operator=(const PageMapping&) = delete;
  ~PageMapping();
  bool map(std::size_t bytes);
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace weir::io
