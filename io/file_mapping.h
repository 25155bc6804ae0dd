#pragma once
// FileMapping: a whole file, mapped to be read. For processes that may be killed by a file that
// shrinks under them (SIGBUS): planners; never a loop. The descriptor may be closed afterwards. Any
// thread.

#include <cstddef>
#include <cstdint>
#include <span>

#include "io/error.h"

namespace weir::io {

class FileMapping {
 public:
  FileMapping() = default;  // maps nothing
  // The file's size at this moment; an empty file maps nothing and is no error.
  static Result<FileMapping> open(int fd);
  FileMapping(FileMapping&& other) noexcept;
  FileMapping& operator=(FileMapping&& other) noexcept;
  ~FileMapping();

  std::span<const std::uint8_t> bytes() const { return {data_, bytes_}; }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace weir::io
