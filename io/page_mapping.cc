#include "io/page_mapping.h"

#include <sys/mman.h>

namespace weir::io {

PageMapping::~PageMapping() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

bool PageMapping::map(std::size_t bytes) {
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return false;
  data_ = data;
  bytes_ = bytes;
  ::madvise(data, bytes, MADV_DONTFORK);
  return true;
}

}  // namespace weir::io
