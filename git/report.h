#pragma once
// Refusals in the form that git shows to a person. Every text names the request, so that a user's
// complaint can be found in the log. Stateless; any thread. What each client shows was measured; an
// ERR packet is shown on fetch, band 2 + report-status on push. Formats: gitprotocol-v2(5) "ERR",
// gitprotocol-pack(5) "Report Status".

#include <string>
#include <string_view>

#include "git/receive_commands.h"

namespace weir::git {

// "weir: <text> (request <id>)"; control characters of `text` become '?'.
std::string refusal_text(std::string_view text, std::string_view request_id);

// One ERR packet: the whole answer of a refused fetch, or of a push that could not be read at all.
std::string error_answer(std::string_view text, std::string_view request_id);

// A band-3 packet: the last thing a client is told in a pack that cannot be finished.
std::string fatal_band(std::string_view text, std::string_view request_id);

// The whole answer of a refused push: the text as progress, then a report in which nothing was
// done. `ref_reason` stands behind each ref; a ref whose name is invalid says so instead. Empty if
// the client asked for neither a report nor a sideband: it then sees no reason, as with git.
std::string push_refusal(const ReceiveCommands& commands, std::string_view text,
                         std::string_view ref_reason, std::string_view request_id);

// The part of push_refusal before the last flush, for an answer that has begun already.
std::string push_refusal_report(const ReceiveCommands& commands, std::string_view text,
                                std::string_view ref_reason, std::string_view request_id);

}  // namespace weir::git
