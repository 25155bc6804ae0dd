#pragma once
// Ewah: a compressed bitmap as .bitmap files hold it: runs of equal 64-bit words, and literal words
// between them. A view of mapped bytes, which may be any bytes; decoding allocates nothing and ends
// after at most as many steps as there are words here and in the set. One thread's value.
// Format: git's bitmap-format document, Appendix A.

#include <cstdint>
#include <span>

#include "git/object_set.h"
#include "io/error.h"

namespace weir::git {

class Ewah {
 public:
  // The one at the front of `bytes`, which then begin behind it. Its words are not looked at yet.
  static io::Result<Ewah> take(std::span<const std::uint8_t>& bytes);

  // Turns over in `set`, which has room for `numbers`, every bit that is set here. A set that was
  // empty is then this one. Errc::corrupt, and a set of no meaning, if the runs do not fit into the
  // words, the words not into the declared bits, or a bit is set that is not below `numbers`.
  io::Result<void> xor_into(ObjectSet& set, std::uint32_t numbers) const;

 private:
  std::uint32_t bits_ = 0;
  std::span<const std::uint8_t> words_;
};

}  // namespace weir::git
