#pragma once
// The request log: one JSON record per request: who, what, the decision, durations per phase, bytes
// both ways, protocol, git version, request id and trace id. No query strings, no Authorization
// values; anything shaped like a Weir token is masked wherever it stands. Format: docs/logs.md.

#include <string>
#include <string_view>

#include "io/clock.h"
#include "server/request.h"

namespace weir::server {

// The record, without a newline. `loop`: index of the loop that served it.
std::string render_request_record(const Request& request, int loop, io::Instant now,
                                  std::int64_t unix_ns);

// The same for a request that was refused before it was one, or for its connection (status 0).
std::string render_refused_record(std::string_view address, int status, std::string_view reason,
                                  int loop, std::int64_t unix_ns);

// `text` with every "weir_<id>_<secret>..." replaced by "weir_<id>_***"; percent escapes, also
// of escapes, do not hide one.
std::string mask_tokens(std::string_view text);

}  // namespace weir::server
