#include "http/http2_stream.h"

#include "http/http2_session.h"

namespace weir::http {

Http2Stream::Http2Stream(Http2Session& session, std::int32_t id) : session_(session), id_(id) {}

void Http2Stream::on_body_wanted() {
  session_.body_wanted(*this);
}
void Http2Stream::on_output_ready() {
  session_.output_ready(*this);
}
void Http2Stream::on_abort() {
  session_.aborted(*this);
}
void Http2Stream::on_released() {
  session_.released(*this);
}
void Http2Stream::on_continue_wanted() {
  session_.continue_wanted(*this);
}

}  // namespace weir::http
