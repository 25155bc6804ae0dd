#pragma once
// The value of Date fields, "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7), made once a second
// and thread.

#include <cstdint>
#include <string_view>

namespace weir::http {

// Valid until the next call on this thread.
std::string_view http_date(std::int64_t unix_ns);

}  // namespace weir::http
