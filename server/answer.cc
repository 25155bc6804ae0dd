#include "server/answer.h"

#include "io/byte_channel.h"
#include "io/log.h"

namespace weir::server {
namespace {

http::ResponseHead make_head(int status, std::string_view content_type, Fields fields,
                             std::uint64_t length) {
  http::ResponseHead head;
  head.status = status;
  head.fields = std::move(fields);
  head.fields.emplace_back("content-type", content_type);
  head.content_length = length;
  return head;
}

io::Task<void> send_whole(Request& request, http::ResponseHead head, std::string body) {
  http::Exchange& exchange = request.exchange;
  request.status = head.status;
  exchange.start_response(std::move(head), io::WriteFlow{});
  if (!body.empty()) {
    const io::Result<void> written = co_await exchange.write(io::as_bytes(body));
    if (!written) co_return;  // the client has left
  }
  exchange.finish();
}

}  // namespace

void append_no_cache(Fields& fields) {
  fields.emplace_back("cache-control", "no-cache, max-age=0, must-revalidate");
  fields.emplace_back("expires", "Fri, 01 Jan 1980 00:00:00 GMT");
  fields.emplace_back("pragma", "no-cache");
}

io::Task<void> answer_text(Request& request, int status, std::string text, Fields fields) {
  std::string body = "weir: ";
  body += text;
  body += " (request ";
  body += request.id;
  body += ")\n";
  append_no_cache(fields);
  http::ResponseHead head =
      make_head(status, "text/plain; charset=utf-8", std::move(fields), body.size());
  return send_whole(request, std::move(head), std::move(body));
}

io::Task<void> answer_lfs(Request& request, int status, std::string message) {
  std::string body = "{\"message\":\"";
  io::append_json_escaped(body, message);
  body += "\",\"request_id\":\"";
  body += request.id;
  body += "\"}\n";
  Fields fields;
  append_no_cache(fields);
  http::ResponseHead head =
      make_head(status, "application/vnd.git-lfs+json", std::move(fields), body.size());
  return send_whole(request, std::move(head), std::move(body));
}

io::Task<void> answer_body(Request& request, std::string_view content_type,
                           const git::RenderedBody& body, Fields fields) {
  http::Exchange& exchange = request.exchange;
  append_no_cache(fields);
  http::ResponseHead head = make_head(200, content_type, std::move(fields), body.bytes());
  request.status = 200;
  exchange.start_response(std::move(head), io::WriteFlow{});
  for (const git::RenderedBody::Part& part : body.parts()) {
    const io::Result<void> written = co_await exchange.write(part.bytes);
    if (!written) co_return;
    request.live.bytes_out.fetch_add(part.bytes.size(), std::memory_order_relaxed);
  }
  exchange.finish();
}

ErrorAnswer answer_for(io::Errc code) {
  switch (code) {
    case io::Errc::protocol:
      return {400, "the request body is malformed"};
    case io::Errc::invalid:
      return {400, "the request is malformed"};
    case io::Errc::limit:
      return {413, "the request body is larger than this server takes"};
    case io::Errc::deadline_exceeded:
      return {503, "the answer took too long; please try again"};
    case io::Errc::not_found:
      return {404, "repository not found"};
    case io::Errc::denied:
      return {403, "not allowed"};
    case io::Errc::unavailable:
      return {503, "a part of this server is not available; please try again shortly"};
    case io::Errc::corrupt:
      return {500, "the repository is damaged; please tell its administrator"};
    case io::Errc::cancelled:
    case io::Errc::closed:
    case io::Errc::system:
      return {500, "an internal error happened; please tell the administrator"};
  }
  return {500, "an internal error happened"};
}

}  // namespace weir::server
