#pragma once
// RepositoryGeneration: the number that grows with every change of a repository's refs and is never
// lower than one that was ever given out, also after kill -9 or a power cut. One file a repository:
//   1 <generation> <reserved> <digest of the refs at that generation> LF
// Numbers up to `reserved` may have been given out since the file was written, so that a change
// costs a write (tmp, fsync, rename, fsync of the folder) only once in kGenerationBlock. A process
// that finds reserved == generation and the same digest continues with it; else it begins above
// reserved. The first number is the unix time in ms: above all former ones even if the file was
// lost. Blocking; one caller at a time. Owned by the ref store's state of the repository.

#include <cstdint>
#include <string>
#include <string_view>

#include "io/error.h"

namespace weir::git {

inline constexpr std::uint64_t kGenerationBlock = 1024;

class RepositoryGeneration {
 public:
  // `path`: the file; "": nothing is kept.
  explicit RepositoryGeneration(std::string path) : path_(std::move(path)) {}

  // The generation of refs with this digest. If it cannot be stored it is given out all the same
  // (reads go on while a disk is full) and `stored` turns false.
  std::uint64_t advance_blocking(std::string_view digest, std::int64_t unix_ms, bool& stored);
  // Gives back what is reserved, before an orderly end.
  void seal_blocking();

 private:
  void load();
  io::Result<void> store() const;

  const std::string path_;
  bool loaded_ = false;
  std::uint64_t generation_ = 0;  // 0: none was ever given out
  std::uint64_t reserved_ = 0;
  std::string digest_;
};

}  // namespace weir::git
