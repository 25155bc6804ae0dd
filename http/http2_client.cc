// Http2Client: many calls at once on one connection, over nghttp2's client session.

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

#include "http/client_session.h"
#include "http/http2_session.h"

namespace weir::http {
namespace {

nghttp2_nv field(std::string_view name, std::string_view value) {
  auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

class Http2Client final : public ClientSession {
 public:
  Http2Client(io::Stream& stream, std::int32_t window_bytes) : stream_(stream) {
    static nghttp2_session_callbacks* const callbacks = make_callbacks();
    static nghttp2_option* const options = make_options();
    if (nghttp2_session_client_new2(&session_, callbacks, this, options) != 0) return;
    const std::array<nghttp2_settings_entry, 3> settings{{
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(window_bytes)},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kResponseHeadBytesMax},
    }};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
    const std::int32_t connection_bytes =
        window_bytes > (1 << 29) ? window_bytes : 2 * window_bytes;
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, connection_bytes);
    ask_write();
  }
  ~Http2Client() override { nghttp2_session_del(session_); }

  Version version() const override { return Version::http2; }
  bool usable() const override {
    return !ended_ && session_ != nullptr && nghttp2_session_check_request_allowed(session_) != 0;
  }

  io::Result<void> start(std::shared_ptr<ClientCall> call) override {
    ClientRequest& request = call->request;
    std::vector<nghttp2_nv> fields;
    fields.reserve(request.headers.size() + 5);
    fields.push_back(field(":method", request.method));
    fields.push_back(field(":scheme", stream_.info().tls ? "https" : "http"));
    fields.push_back(field(":authority", request.authority));
    fields.push_back(field(":path", request.path));
    for (const auto& [name, value] : request.headers) fields.push_back(field(name, value));
    if (!request.chunked && (!request.body.empty() || request.method == "POST")) {
      call->length_text = std::to_string(request.body.size());
      fields.push_back(field("content-length", call->length_text));
    }
    nghttp2_data_provider provider{};
    provider.source.ptr = call.get();
    provider.read_callback = read_body;
    const bool body = !request.body.empty();
    const std::int32_t id = nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(),
                                                   body ? &provider : nullptr, call.get());
    if (id < 0) return io::fail(io::Errc::unavailable, nghttp2_strerror(id));
    call->stream_id = id;
    call->session = this;
    calls_.emplace(id, std::move(call));
    ask_write();
    return {};
  }

  void consumed(ClientCall& call, std::size_t bytes) override {
    nghttp2_session_consume(session_, call.stream_id, bytes);
    if (nghttp2_session_want_write(session_) != 0) ask_write();
  }

  void cancel(ClientCall& call) override {
    call.session = nullptr;
    nghttp2_session_consume_connection(session_, call.queue.size());
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call.stream_id, NGHTTP2_CANCEL);
    // Stays in calls_ until the library lets go of the stream.
    ask_write();
  }

  void on_data(std::span<const std::uint8_t> bytes) override {
    if (ended_ || session_ == nullptr) return;
    if (nghttp2_session_mem_recv(session_, bytes.data(), bytes.size()) < 0) {
      fail_all(io::Errc::protocol, "broken HTTP/2");
      return stream_.abort();
    }
    if (nghttp2_session_want_write(session_) != 0) ask_write();
    end_if_done();
  }

  void on_end_of_data() override { fail_all(io::Errc::closed, "connection ended"); }
  void on_closed() override { fail_all(io::Errc::closed, "connection closed"); }

  void on_write_turn(std::size_t bytes_max) override {
    write_asked_ = paused_ = false;
    if (ended_ || session_ == nullptr) return;
    turn_bytes_left_ = std::max(bytes_max, kFrameHeaderBytes + kDataPayloadBytesMax);
    while (flush_pending()) {
      const std::uint8_t* data = nullptr;
      const ssize_t made = nghttp2_session_mem_send(session_, &data);
      if (made < 0) {
        fail_all(io::Errc::protocol, "HTTP/2 session failed");
        return stream_.abort();
      }
      if (made == 0) break;
      pending_ = {data, static_cast<std::size_t>(made)};
    }
    if (!pending_.empty() || paused_) ask_write();
    end_if_done();
  }

 private:
  static Http2Client& self(void* user_data) { return *static_cast<Http2Client*>(user_data); }
  static ClientCall* call_of(nghttp2_session* session, std::int32_t id) {
    return static_cast<ClientCall*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static ssize_t read_body(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t bytes_max,
                           std::uint32_t* flags, nghttp2_data_source* source, void* user_data) {
    const ClientCall& call = *static_cast<ClientCall*>(source->ptr);
    Http2Client& client = self(user_data);
    const std::size_t left = call.body_left().size();
    const std::size_t room = std::min(client.stream_.room(), client.turn_bytes_left_);
    if (room < kFrameHeaderBytes + std::min(left, kWindowDribbleBytes)) {
      client.paused_ = true;
      return NGHTTP2_ERR_PAUSE;
    }
    const std::size_t bytes =
        std::min({left, bytes_max, room - kFrameHeaderBytes, kDataPayloadBytesMax});
    if (bytes == left) *flags |= NGHTTP2_DATA_FLAG_EOF;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    return static_cast<ssize_t>(bytes);
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* header,
                       std::size_t bytes, nghttp2_data_source* source, void* user_data) {
    Http2Client& client = self(user_data);
    ClientCall& call = *static_cast<ClientCall*>(source->ptr);
    client.stream_.write({header, kFrameHeaderBytes});
    client.stream_.write(call.body_left().first(bytes));
    call.body_bytes_sent += bytes;
    client.turn_bytes_left_ -= std::min(client.turn_bytes_left_, kFrameHeaderBytes + bytes);
    return 0;
  }

  static int on_header(nghttp2_session* session, const nghttp2_frame* frame,
                       const std::uint8_t* name, std::size_t name_bytes, const std::uint8_t* value,
                       std::size_t value_bytes, std::uint8_t, void*) {
    ClientCall* call = call_of(session, frame->hd.stream_id);
    if (call == nullptr || frame->hd.type != NGHTTP2_HEADERS || call->head_done) return 0;
    call->head_bytes += name_bytes + value_bytes + kFieldOverheadBytes;
    if (call->head_bytes > kResponseHeadBytesMax) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::string_view key(reinterpret_cast<const char*>(name), name_bytes);
    const std::string_view text(reinterpret_cast<const char*>(value), value_bytes);
    if (key == ":status") {
      std::from_chars(text.data(), text.data() + text.size(), call->status);
    } else {
      call->fields.emplace_back(key, text);
    }
    return 0;
  }

  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    ClientCall* call = call_of(session, frame->hd.stream_id);
    if (call == nullptr) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !call->head_done) {
      if (call->status < 200) {  // interim
        call->fields.clear();
        return 0;
      }
      call->head_done = true;
      call->changed.notify();
    }
    const bool carries_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (carries_end && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      self(user_data).finish_early(*call);
    }
    return 0;
  }

  // The response is complete; an upload still under way is given up.
  void finish_early(ClientCall& call) {
    if (!call.body_left().empty()) {
      nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call.stream_id, NGHTTP2_NO_ERROR);
    }
    if (call.session != nullptr) {
      nghttp2_session_consume_connection(session_, call.queue.size());
      call.end();
    }
  }

  static int on_chunk(nghttp2_session* session, std::uint8_t, std::int32_t id,
                      const std::uint8_t* data, std::size_t size, void*) {
    ClientCall* call = call_of(session, id);
    if (call == nullptr || call->session == nullptr) {
      nghttp2_session_consume(session, id, size);
      return 0;
    }
    call->deliver({data, size});
    return 0;
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t error,
                             void* user_data) {
    Http2Client& client = self(user_data);
    const auto found = client.calls_.find(id);
    if (found == client.calls_.end()) return 0;
    ClientCall& call = *found->second;
    if (call.session != nullptr) {
      const bool refused = error == NGHTTP2_REFUSED_STREAM;
      call.fail(refused ? io::Errc::unavailable : io::Errc::closed, nghttp2_http2_strerror(error));
      nghttp2_session_consume_connection(client.session_, call.queue.size());
    }
    client.calls_.erase(found);
    return 0;
  }

  static nghttp2_session_callbacks* make_callbacks() {
    nghttp2_session_callbacks* table = nullptr;
    if (nghttp2_session_callbacks_new(&table) != 0) return nullptr;
    nghttp2_session_callbacks_set_on_header_callback(table, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(table, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(table, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(table, send_data);
    return table;
  }

  static nghttp2_option* make_options() {
    nghttp2_option* option = nullptr;
    if (nghttp2_option_new(&option) != 0) return nullptr;
    nghttp2_option_set_no_auto_window_update(option, 1);
    return option;
  }

  bool flush_pending() {
    pending_ = pending_.subspan(stream_.write(pending_));
    return pending_.empty();
  }

  void ask_write() {
    if (write_asked_ || ended_) return;
    write_asked_ = true;
    stream_.want_write({});
  }

  void end_if_done() {
    if (ended_ || !pending_.empty()) return;
    if (nghttp2_session_want_read(session_) != 0 || nghttp2_session_want_write(session_) != 0) {
      return;
    }
    fail_all(io::Errc::closed, "the server ended the connection");
    stream_.close_gracefully();
  }

  void fail_all(io::Errc code, const char* where) {
    ended_ = true;
    for (auto& [id, call] : calls_) {
      if (call->session != nullptr) call->fail(code, where);
    }
    calls_.clear();
  }

  io::Stream& stream_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<std::int32_t, std::shared_ptr<ClientCall>> calls_;
  std::span<const std::uint8_t> pending_;
  std::size_t turn_bytes_left_ = 0;
  bool write_asked_ = false;
  bool paused_ = false;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<ClientSession> make_http2_client(io::Stream& stream, std::int32_t window_bytes) {
  return std::make_unique<Http2Client>(stream, window_bytes);
}

}  // namespace weir::http
