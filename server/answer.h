#pragma once
// Answers that are made here rather than by a Git service: short texts with a status, in the form
// the client shows, and bodies that are ready in memory. Every text a user sees names the request
// id. Sources: the forms that git, libgit2 and LFS clients print were measured; see
// docs/refusals.md.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "git/rendered_body.h"
#include "io/error.h"
#include "io/task.h"
#include "server/request.h"

namespace weir::server {

using Fields = std::vector<std::pair<std::string_view, std::string>>;

// "weir: <text> (request <id>)\n" as text/plain: git prints such a body as "remote: ..." lines.
io::Task<void> answer_text(Request& request, int status, std::string text, Fields fields = {});
// What LFS clients expect: {"message": ..., "request_id": ...}.
io::Task<void> answer_lfs(Request& request, int status, std::string message);
// A whole body of known length.
io::Task<void> answer_body(Request& request, std::string_view content_type,
                           const git::RenderedBody& body, Fields fields);

// Nothing of a smart-HTTP answer may be kept by caches on the way.
void append_no_cache(Fields& fields);

// What the client is told when something behind us fails before anything was answered: the one
// mapping of errors to statuses and texts.
struct ErrorAnswer {
  int status;
  std::string_view text;
};
ErrorAnswer answer_for(io::Errc code);

}  // namespace weir::server
