#pragma once
// RecipeAnswer: turns a recipe into an answer's bytes on the loop: extents read through the loop's
// backend (never by a mapping), framed as sideband packets in place, hashed on the way until the
// recipe knows its trailer, written in large pieces of whole packets; the next piece is read while
// one is written. At most kRecipeAnswerBytesMax in memory an answer, from a budget that all share;
// once it is spent kLeanRecipeAnswerBytesMax, and nothing is read ahead. A file that ends early or
// cannot be read ends the pack unfinished; one whose bytes have changed is found by the client, by
// the trailer. Loop thread only. Formats: gitprotocol-v2(5) "output of fetch", gitprotocol-pack(5)
// "Packfile Data".

#include <cstddef>
#include <cstdint>
#include <functional>

#include "git/fetch_request.h"
#include "git/recipe.h"
#include "io/byte_budget.h"
#include "io/byte_channel.h"
#include "io/stop_token.h"
#include "io/task.h"

namespace weir::git {

inline constexpr std::size_t kRecipeAnswerBytesMax = 512 * 1024;
inline constexpr std::size_t kLeanRecipeAnswerBytesMax = 128 * 1024;
// Of a process, beside lean answers: a thousand at full speed.
inline constexpr std::uint64_t kRecipeAnswersBytesMax = 512UL * 1024 * 1024;
inline constexpr std::size_t kSidebandPayloadBytesMax = 65515;  // sideband.c: 65520 with its header
inline constexpr std::size_t kSmallSidebandPayloadBytesMax = 995;

// How many bytes send_recipe() will write in all, the last flush included.
std::uint64_t framed_bytes(const Recipe& recipe, SidebandKind sideband, bool progress);

// Writes pack and progress packets of `recipe`, then the flush (none without sideband). `fd_of`:
// the descriptor of each file by its number in the recipe; all stay open meanwhile. `memory`: the
// budget, or null. Errors: closed and cancelled (the peer left), corrupt or system (a file: the
// answer is unfinished, but ends with a whole packet).
io::Task<io::Result<void>> send_recipe(io::ByteSink& answer, const Recipe& recipe,
                                       std::function<int(std::size_t)> fd_of, SidebandKind sideband,
                                       bool progress, io::ByteBudget* memory, io::StopToken stop);

}  // namespace weir::git
