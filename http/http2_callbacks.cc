#include "http/http2_callbacks.h"

#include <nghttp2/nghttp2.h>

#include "http/http2_session.h"

namespace weir::http {

struct Http2Callbacks {
  static Http2Session& self(void* user_data) { return *static_cast<Http2Session*>(user_data); }
  static Http2Stream* stream_of(nghttp2_session* session, std::int32_t id) {
    return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }
  static std::string_view text(const std::uint8_t* bytes, std::size_t size) {
    return {reinterpret_cast<const char*>(bytes), size};
  }

  // The library drops PRIORITY frames without a word once they are switched off.
  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* header, void* user_data) {
    if (header->type == NGHTTP2_PRIORITY) self(user_data).charge(Http2Offence::ignored_frame);
    return 0;
  }

  // Called when an unknown frame has come in whole, its payload dropped.
  static int unknown_frame(nghttp2_session*, void**, const nghttp2_frame_hd*, void* user_data) {
    self(user_data).charge(Http2Offence::ignored_frame);
    return NGHTTP2_ERR_CANCEL;
  }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    Http2Session& session = self(user_data);
    session.trailer_bytes_ = 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) session.stream_opened(frame->hd.stream_id);
    return 0;
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_bytes, const std::uint8_t* value, std::size_t value_bytes,
                    std::uint8_t, void* user_data) {
    Http2Session& session = self(user_data);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
      session.trailer_bytes_ += name_bytes + value_bytes + kFieldOverheadBytes;
      if (session.trailer_bytes_ > kHttp2TrailerBytesMax)
        session.charge(Http2Offence::header_overrun);
    } else if (session.head_stream_ != nullptr) {  // else refused
      session.field_received(text(name, name_bytes), text(value, value_bytes));
    }
    // A bomb of ten thousand fields is not read to its end.
    return session.abusive_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  }

  // Without this the library would drop the field and go on: a request is whole or refused.
  static int invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*,
                            std::size_t, const std::uint8_t*, std::size_t, std::uint8_t, void*) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int frame_received(nghttp2_session* library, const nghttp2_frame* frame, void* user_data) {
    Http2Session& session = self(user_data);
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    const bool ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS: {
        Http2Stream* stream = stream_of(library, frame->hd.stream_id);
        if (stream == nullptr) break;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
          session.head_received(*stream, !end);
        } else if (end) {
          session.upload_end(*stream);
        }
        break;
      }
      case NGHTTP2_DATA: {
        if (!end && frame->hd.length == frame->data.padlen)
          session.charge(Http2Offence::empty_data);
        Http2Stream* stream = stream_of(library, frame->hd.stream_id);
        if (stream != nullptr && end) session.upload_end(*stream);
        break;
      }
      case NGHTTP2_SETTINGS:
        // The first belongs to the preface.
        if (!ack && session.settings_received_++ > 0) session.charge(Http2Offence::control_frame);
        break;
      case NGHTTP2_GOAWAY:
        session.ending_known_ = true;
        break;
      case NGHTTP2_PING:
        if (!ack) session.charge(Http2Offence::control_frame);
        break;
      case NGHTTP2_WINDOW_UPDATE: {
        const std::int32_t increment = frame->window_update.window_size_increment;
        if (increment < static_cast<std::int32_t>(kWindowDribbleBytes)) {
          session.charge(Http2Offence::window_dribble);
        }
        break;
      }
      default:
        break;
    }
    return 0;
  }

  static int invalid_frame(nghttp2_session*, const nghttp2_frame*, int, void* user_data) {
    self(user_data).charge(Http2Offence::invalid_request);
    return 0;
  }

  static int data_chunk(nghttp2_session* library, std::uint8_t, std::int32_t id,
                        const std::uint8_t* data, std::size_t size, void* user_data) {
    Http2Stream* stream = stream_of(library, id);
    if (stream != nullptr) {
      self(user_data).upload_received(*stream, {data, size});
    } else {
      nghttp2_session_consume(library, id, size);
    }
    return 0;
  }

  static int stream_close(nghttp2_session* library, std::int32_t id, std::uint32_t error,
                          void* user_data) {
    Http2Stream* stream = stream_of(library, id);
    if (stream != nullptr) self(user_data).stream_closed(*stream, error);
    return 0;
  }

  static int send_data(nghttp2_session* library, nghttp2_frame* frame, const std::uint8_t* header,
                       std::size_t size, nghttp2_data_source*, void* user_data) {
    Http2Stream* stream = stream_of(library, frame->hd.stream_id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return self(user_data).send_data(*stream, header, size) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  static int frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    if (frame->hd.type == NGHTTP2_RST_STREAM)
      self(user_data).frames_.reset_sent(frame->hd.stream_id);
    return 0;
  }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* table = nullptr;
    if (nghttp2_session_callbacks_new(&table) != 0) return nullptr;
    nghttp2_session_callbacks_set_on_begin_frame_callback(table, begin_frame);
    nghttp2_session_callbacks_set_unpack_extension_callback(table, unknown_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(table, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(table, header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(table, invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(table, frame_received);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(table, invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(table, stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(table, frame_sent);
    nghttp2_session_callbacks_set_send_data_callback(table, send_data);
    return table;
  }
};

namespace {

nghttp2_option* make_options() {
  nghttp2_option* option = nullptr;
  if (nghttp2_option_new(&option) != 0) return nullptr;
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  // Unknown frames are ignored, but seen, so that they can be counted.
  for (unsigned type = NGHTTP2_CONTINUATION + 1; type < 256; ++type) {
    nghttp2_option_set_user_recv_extension_type(option, static_cast<std::uint8_t>(type));
  }
  // Behind our own budget (http2_abuse.h):
  nghttp2_option_set_stream_reset_rate_limit(option, 200, 20);
  nghttp2_option_set_max_continuations(option, 8);
  nghttp2_option_set_max_settings(option, 32);
  nghttp2_option_set_max_outbound_ack(option, 100);
  return option;
}

}  // namespace

nghttp2_session* new_http2_server_session(Http2Session& session) {
  static nghttp2_session_callbacks* const callbacks = Http2Callbacks::make();
  static nghttp2_option* const options = make_options();
  nghttp2_session* made = nullptr;
  if (callbacks == nullptr || options == nullptr ||
      nghttp2_session_server_new2(&made, callbacks, &session, options) != 0) {
    return nullptr;
  }
  return made;
}

}  // namespace weir::http
