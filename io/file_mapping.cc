#include "io/file_mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <utility>

namespace weir::io {

Result<FileMapping> FileMapping::open(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno("stat a file to map");
  if (!S_ISREG(status.st_mode)) return fail(Errc::invalid, "map something that is no file");
  FileMapping mapping;
  const auto bytes = static_cast<std::size_t>(status.st_size);
  if (bytes == 0) return mapping;
  // Private, since a sealed memfd cannot be mapped shared on every kernel.
  void* const data = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return fail_errno("map a file");
  mapping.data_ = static_cast<const std::uint8_t*>(data);
  mapping.bytes_ = bytes;
  return mapping;
}

FileMapping::FileMapping(FileMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

FileMapping& FileMapping::operator=(FileMapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

FileMapping::~FileMapping() {
  if (data_ != nullptr) ::munmap(const_cast<std::uint8_t*>(data_), bytes_);
}

}  // namespace weir::io
