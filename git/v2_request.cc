#include "git/v2_request.h"

#include "git/pkt_line.h"

namespace weir::git {
namespace {

using io::Errc;
using io::fail;

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

io::Result<void> take_key(std::string_view text, V2Request& request, std::string_view& format) {
  if (take_prefix(text, "command=")) {
    if (!request.command.empty()) return fail(Errc::protocol, "two commands in one request");
    if (text != "ls-refs" && text != "fetch" && text != "object-info") {
      return fail(Errc::protocol, "unknown command");
    }
    request.command = text;
  } else if (take_prefix(text, "agent=")) {
    request.agent = text;
  } else if (take_prefix(text, "session-id=")) {
    request.session_id = text;
  } else if (take_prefix(text, "object-format=")) {
    format = text;
  } else if (take_prefix(text, "server-option=")) {
    request.server_options.push_back(text);
  } else {
    return fail(Errc::protocol, "unknown capability");
  }
  return {};
}

}  // namespace

io::Result<V2Request> parse_v2_request(std::string_view body, ObjectFormat format) {
  V2Request request;
  std::string_view client_format = format_name(ObjectFormat::sha1);  // what silence means
  bool in_arguments = false;
  std::size_t capabilities = 0;
  for (;;) {
    Pkt pkt;
    const PktStatus status = read_pkt(body, pkt);
    if (status == PktStatus::malformed) return fail(Errc::protocol, "bad pkt-line length");
    if (status == PktStatus::need_more) return fail(Errc::protocol, "the request is cut short");
    body.remove_prefix(pkt.bytes);
    if (pkt.kind == PktKind::flush) break;
    if (pkt.kind == PktKind::response_end) return fail(Errc::protocol, "unexpected packet 0002");
    if (pkt.kind == PktKind::delim) {
      if (in_arguments) return fail(Errc::protocol, "unexpected packet 0001");
      in_arguments = true;
      continue;
    }
    const std::string_view text = pkt_text(pkt);
    if (text.find('\0') != text.npos) return fail(Errc::protocol, "NUL in the request");
    if (in_arguments) {
      if (request.arguments.size() == kV2ArgumentsMax) {
        return fail(Errc::limit, "too many arguments");
      }
      request.arguments.push_back(text);
      continue;
    }
    if (++capabilities > kV2CapabilitiesMax) return fail(Errc::limit, "too many capabilities");
    if (const auto taken = take_key(text, request, client_format); !taken) {
      return std::unexpected(taken.error());
    }
  }
  if (!body.empty()) return fail(Errc::protocol, "bytes after the end of the request");
  if (request.command.empty()) return fail(Errc::protocol, "no command requested");
  if (client_format != format_name(format)) {
    return format == ObjectFormat::sha1
               ? fail(Errc::protocol, "mismatched object format: the repository uses sha1")
               : fail(Errc::protocol, "mismatched object format: the repository uses sha256");
  }
  return request;
}

}  // namespace weir::git
