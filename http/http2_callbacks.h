#pragma once
// The seam to nghttp2: makes a server session whose protocol events arrive at a Http2Session. The
// callback table and the options are made once per process and never change. nghttp2 is called from
// one thread and never from inside a callback, except to submit frames.

#include <cstdint>

struct nghttp2_session;

namespace weir::http {

class Http2Session;

// Request trailers are read and dropped; beyond this they count as abuse.
inline constexpr std::size_t kHttp2TrailerBytesMax = 4 * 1024;

// nullptr when memory is out.
nghttp2_session* new_http2_server_session(Http2Session& session);

}  // namespace weir::http
