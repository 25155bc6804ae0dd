#pragma once
// Writes HTTP/1.1 response heads. Stateless; any thread. Field values are not trusted: control
// bytes in them become '?', so that no value can add a field or end the head.

#include <cstdint>
#include <optional>
#include <string>

#include "http/message.h"

namespace weir::http {

// How the end of a response body is told.
enum class BodyFraming : std::uint8_t { none, length, chunked, until_close };

struct Http1Framing {
  BodyFraming body = BodyFraming::none;
  std::optional<std::uint64_t> content_length;  // also told without a body, for HEAD
  bool close = false;
  bool tell_keep_alive = false;  // HTTP/1.0 clients must be told
};

void append_response_head(std::string& out, const ResponseHead& response,
                          const Http1Framing& framing, std::string_view date);

}  // namespace weir::http
