#include "http/http1_response_head.h"

#include <array>
#include <charconv>

#include "http/http1_chars.h"

namespace weir::http {
namespace {

void append_number(std::string& out, std::uint64_t number) {
  std::array<char, 20> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(std::string_view(digits.data(), end));
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  const std::size_t start = out.size();
  out.append(value);
  for (std::size_t i = start; i < out.size(); ++i) {
    if (!is_char(out[i], kValueChar)) out[i] = '?';
  }
  out.append("\r\n");
}

}  // namespace

void append_response_head(std::string& out, const ResponseHead& response,
                          const Http1Framing& framing, std::string_view date) {
  out.append("HTTP/1.1 ");
  append_number(out, static_cast<std::uint64_t>(response.status));
  out.append(" ").append(reason_phrase(response.status)).append("\r\nserver: weir\r\ndate: ");
  out.append(date).append("\r\n");
  for (const auto& [name, value] : response.fields) append_field(out, name, value);
  if (framing.content_length) {
    out.append("content-length: ");
    append_number(out, *framing.content_length);
    out.append("\r\n");
  }
  if (framing.body == BodyFraming::chunked) out.append("transfer-encoding: chunked\r\n");
  if (framing.close) {
    out.append("connection: close\r\n");
  } else if (framing.tell_keep_alive) {
    out.append("connection: keep-alive\r\n");
  }
  out.append("\r\n");
}

}  // namespace weir::http
