#pragma once
// FetchRequest: what a client asks of upload-pack, in protocol v2 or v0/v1. Sans-IO, stateless, any
// thread. Counts are bounded (a repeated have makes old git versions grow without limit, so repeats
// are bounded too). An error's `where` is a text for the user. Formats: gitprotocol-v2(5) "fetch",
// gitprotocol-pack(5) "Packfile Negotiation".

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::size_t kWantsMax = 200'000;  // a mirror of 200,000 distinct tips
inline constexpr std::size_t kHavesMax = 200'000;  // git stops after some thousands a round
inline constexpr std::size_t kShallowsMax = 200'000;
inline constexpr std::size_t kHaveRepeatsMax = 4096;
inline constexpr std::size_t kDeepenNotMax = 256;
inline constexpr std::size_t kWantRefsMax = 4096;
inline constexpr std::size_t kFilterBytesMax = 4096;
inline constexpr std::int64_t kDepthMax = 0x7fffffff;  // git's "all of history"

enum class SidebandKind : std::uint8_t { none, small, large };  // side-band, side-band-64k

struct FetchRequest {
  std::vector<ObjectId> wants;  // without repeats
  std::vector<ObjectId> haves;  // without repeats
  std::vector<ObjectId> shallows;
  std::vector<std::string> want_refs;
  std::vector<std::string> deepen_not;
  std::int64_t deepen = 0;         // 0: not asked
  std::int64_t deepen_since = -1;  // -1: not asked
  std::string filter;
  std::string packfile_uris;
  std::string agent;                            // v0/v1 only; v2 carries it in the request's frame
  SidebandKind sideband = SidebandKind::large;  // v0/v1: as asked for
  bool done = false;
  bool thin_pack = false;
  bool no_progress = false;
  bool include_tag = false;
  bool ofs_delta = false;
  bool deepen_relative = false;
  bool sideband_all = false;
  bool wait_for_done = false;

  bool shallow_answer() const { return deepen != 0 || deepen_since >= 0 || !deepen_not.empty(); }
};

// `arguments`: those of the v2 command "fetch".
io::Result<FetchRequest> parse_v2_fetch(std::span<const std::string_view> arguments,
                                        ObjectFormat format);
// `body`: a whole v0/v1 upload request: wants, flush, then haves, flushes and done.
io::Result<FetchRequest> parse_v0_fetch(std::string_view body, ObjectFormat format);
// The object ids of the v2 command "object-info".
io::Result<std::vector<ObjectId>> parse_object_info(std::span<const std::string_view> arguments,
                                                    ObjectFormat format);

}  // namespace weir::git
