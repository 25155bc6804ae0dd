#pragma once
// DeltaEncoder: the difference of two buffers as a delta that apply_delta() (git/object_codec.h)
// and git take. What both begin and end with is found by comparing, what lies between by a table of
// the base's blocks; each place of the target looks at a bounded number of blocks, so time is
// linear in both whatever they hold. Keeps its table between calls: 8 bytes a block. Not
// thread-safe: one a planner. Format: gitformat-pack(5) "Deltified representation".

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace weir::git {

class DeltaEncoder {
 public:
  // Appends to `delta`. False, and nothing of use appended: the delta would have more than
  // `bytes_max` bytes, or the format knows none (an empty target, a base of 4 GiB).
  bool encode(std::span<const std::uint8_t> base, std::span<const std::uint8_t> target,
              std::size_t bytes_max, std::string& delta);

 private:
  struct Match {
    std::size_t base_at = 0;
    std::size_t target_at = 0;
    std::size_t bytes = 0;  // 0: none
  };
  void index(std::span<const std::uint8_t> base);
  Match longest_match(std::span<const std::uint8_t> base, std::span<const std::uint8_t> target,
                      std::size_t at, std::size_t not_before, std::size_t end) const;

  // Chains of blocks with the same hash, as 1 + the number of a block; 0 ends them.
  std::vector<std::uint32_t> first_, next_;
  std::size_t step_ = 0;  // from one block of the base to the next
  unsigned shift_ = 0;    // of a hash to an index of first_
};

}  // namespace weir::git
