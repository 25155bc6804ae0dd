#pragma once
// RecipeAnswer: turns a recipe into an answer's bytes on the loop: extents read through the loop's
// backend (never by a mapping), framed as sideband packets in place, hashed on the way where the
// trailer is not known, written in large pieces. At most kRecipeAnswerBytesMax in memory an answer.
// A file that ends early or cannot be read, or a hash that does not match a known trailer, ends the
// pack unfinished. Loop thread only. Formats: gitprotocol-v2(5) "output of fetch",
// gitprotocol-pack(5) "Packfile Data".

#include <cstdint>
#include <span>
#include <string>

#include "git/fetch_request.h"
#include "git/recipe.h"
#include "git/repository_files.h"
#include "io/byte_channel.h"
#include "io/stop_token.h"
#include "io/task.h"

namespace weir::git {

inline constexpr std::size_t kRecipeAnswerBytesMax = 512 * 1024;
inline constexpr std::size_t kSidebandPayloadBytesMax = 65515;  // sideband.c: 65520 with its header

// How many bytes send_recipe() will write in all, the last flush included.
std::uint64_t framed_bytes(const Recipe& recipe, SidebandKind sideband, std::uint64_t text_bytes);

// Writes pack and progress packets of `recipe`, then the flush (none without sideband). Errors:
// closed and cancelled (the peer left), corrupt or system (a file: the answer is unfinished).
io::Task<io::Result<void>> send_recipe(io::ByteSink& answer, const Recipe& recipe,
                                       const RepositoryFiles& files, SidebandKind sideband,
                                       bool progress, io::StopToken stop);

}  // namespace weir::git
