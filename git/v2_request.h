#pragma once
// V2Request: the frame of one protocol v2 request: command, capabilities, arguments. Sans-IO,
// stateless, any thread; views borrow from the body. Bounded by the constants below. An error's
// `where` is a text for the user. Format: gitprotocol-v2(5) "Command Request".

#include <string_view>
#include <vector>

#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::size_t kV2CapabilitiesMax = 64;    // we offer five; server-option repeats
inline constexpr std::size_t kV2ArgumentsMax = 400'000;  // > wants and haves a request may carry

struct V2Request {
  std::string_view command;  // "ls-refs", "fetch" or "object-info"
  std::string_view agent;
  std::string_view session_id;
  std::vector<std::string_view> server_options;
  std::vector<std::string_view> arguments;  // one a packet, without its LF
};

// `body`: the whole request, which ends with its flush. The bare flush ("empty request") is an
// error here: callers answer it before. `format`: of the repository; the client's must match.
io::Result<V2Request> parse_v2_request(std::string_view body, ObjectFormat format);

}  // namespace weir::git
