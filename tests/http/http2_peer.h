#pragma once
// Http2Peer: the other end of a server connection in tests: nghttp2's client session over one end
// of a socketpair, pumped by hand, able to misbehave (raw bytes, not reading, resetting).

#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace weir::http {

struct PeerReply {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
  std::uint64_t body_bytes = 0;
  int interim = 0;
  bool ended = false;  // END_STREAM
  bool closed = false;
  std::uint32_t error = 0;
};

using PeerFields = std::vector<std::pair<std::string, std::string>>;

class Http2Peer {
 public:
  // `window`: per stream and for the connection.
  explicit Http2Peer(int fd, std::int32_t window = 1 << 20, bool automatic_windows = true)
      : fd_(fd) {
    nghttp2_session_callbacks* table = nullptr;
    nghttp2_session_callbacks_new(&table);
    nghttp2_session_callbacks_set_on_header_callback(table, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(table, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(table, on_close);
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_http_messaging(option, 1);  // tests judge what comes
    if (!automatic_windows) nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_client_new2(&session_, table, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(table);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(window)}};
    nghttp2_submit_settings(session_, 0, settings, 1);
    nghttp2_session_set_local_window_size(session_, 0, 0, window);
  }
  ~Http2Peer() {
    nghttp2_session_del(session_);
    if (fd_ >= 0) ::close(fd_);
  }
  Http2Peer(const Http2Peer&) = delete;
  Http2Peer& operator=(const Http2Peer&) = delete;

  static PeerFields get(const std::string& path) {
    return {{":method", "GET"}, {":scheme", "http"}, {":authority", "weir.test"}, {":path", path}};
  }
  static PeerFields post(const std::string& path) {
    PeerFields fields = get(path);
    fields[0].second = "POST";
    return fields;
  }

  std::int32_t request(const PeerFields& fields) { return submit(fields, nullptr); }
  // Sends `body` as windows allow; `end`: with END_STREAM.
  std::int32_t request(const PeerFields& fields, std::string body, bool end = true) {
    auto upload = std::make_unique<Upload>(Upload{std::move(body), 0, end});
    nghttp2_data_provider provider{};
    provider.source.ptr = upload.get();
    provider.read_callback = read_upload;
    uploads_.push_back(std::move(upload));
    return submit(fields, &provider);
  }
  void reset(std::int32_t id) { nghttp2_submit_rst_stream(session_, 0, id, NGHTTP2_CANCEL); }
  void raw(const std::string& bytes) { outgoing_ += bytes; }
  // A frame by hand.
  static std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t id,
                           const std::string& payload) {
    std::string bytes;
    const auto size = static_cast<std::uint32_t>(payload.size());
    for (const int shift : {16, 8, 0}) bytes += static_cast<char>(size >> shift);
    bytes += static_cast<char>(type);
    bytes += static_cast<char>(flags);
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(id >> shift);
    return bytes + payload;
  }

  void pump() {
    if (fd_ < 0) return;
    const std::uint8_t* data = nullptr;
    ssize_t made = 0;
    while (outgoing_.size() < 65536 && (made = nghttp2_session_mem_send(session_, &data)) > 0) {
      outgoing_.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(made));
    }
    while (!outgoing_.empty()) {
      const ssize_t sent = ::send(fd_, outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        if (sent < 0 && errno != EAGAIN) outgoing_.clear();
        break;
      }
      outgoing_.erase(0, static_cast<std::size_t>(sent));
    }
    if (reading) receive();
  }
  void hang_up() {
    ::close(fd_);
    fd_ = -1;
  }
  nghttp2_session* session() { return session_; }

  std::map<std::int32_t, PeerReply> replies;
  std::vector<std::pair<std::int32_t, std::uint32_t>> goaways;  // last stream, error
  int pings = 0;
  bool reading = true;
  bool by_hand = false;  // what comes is only scanned: for streams opened by raw()
  bool closed = false;   // the server closed
  bool broken = false;   // the server broke the protocol

 private:
  struct Upload {
    std::string body;
    std::size_t sent;
    bool end;
  };
  // The frames of a server whose streams the library does not know: resets and goodbyes.
  void scan(const std::uint8_t* data, std::size_t size) {
    scanned_.append(reinterpret_cast<const char*>(data), size);
    const auto number = [this](std::size_t at, std::size_t bytes) {
      std::uint32_t value = 0;
      for (std::size_t i = 0; i < bytes; ++i) {
        value = value << 8 | static_cast<std::uint8_t>(scanned_[at + i]);
      }
      return value;
    };
    while (scanned_.size() >= 9) {
      const std::size_t whole = 9 + number(0, 3);
      if (scanned_.size() < whole) return;
      PeerReply& reply = replies[static_cast<std::int32_t>(number(5, 4))];
      const auto type = static_cast<std::uint8_t>(scanned_[3]);
      if (type == NGHTTP2_GOAWAY) {
        goaways.emplace_back(static_cast<std::int32_t>(number(9, 4)), number(13, 4));
      } else if (type == NGHTTP2_RST_STREAM) {
        reply.closed = true;
        reply.error = number(9, 4);
      } else if (type == NGHTTP2_HEADERS || type == NGHTTP2_DATA) {
        reply.ended = (scanned_[4] & NGHTTP2_FLAG_END_STREAM) != 0;
      }
      scanned_.erase(0, whole);
    }
  }
  void receive() {
    std::array<std::uint8_t, 65536> buffer;
    while (true) {
      const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) {
        closed = true;
        hang_up();
        return;
      }
      if (by_hand) {
        scan(buffer.data(), static_cast<std::size_t>(got));
      } else if (nghttp2_session_mem_recv(session_, buffer.data(), static_cast<std::size_t>(got)) <
                 0) {
        broken = true;
        return;
      }
    }
  }
  std::int32_t submit(const PeerFields& fields, nghttp2_data_provider* provider) {
    std::vector<nghttp2_nv> list;
    for (const auto& [name, value] : fields) {
      auto bytes = [](const std::string& text) {
        return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
      };
      list.push_back({bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    return nghttp2_submit_request(session_, nullptr, list.data(), list.size(), provider, nullptr);
  }
  static Http2Peer& self(void* user_data) { return *static_cast<Http2Peer*>(user_data); }
  static ssize_t read_upload(nghttp2_session*, std::int32_t, std::uint8_t* into, std::size_t size,
                             std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto& upload = *static_cast<Upload*>(source->ptr);
    const std::size_t bytes = std::min(size, upload.body.size() - upload.sent);
    std::memcpy(into, upload.body.data() + upload.sent, bytes);
    upload.sent += bytes;
    if (upload.sent == upload.body.size()) {
      if (upload.end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
      } else if (bytes == 0) {
        return NGHTTP2_ERR_DEFERRED;
      }
    }
    return static_cast<ssize_t>(bytes);
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_bytes, const std::uint8_t* value, std::size_t value_bytes,
                       std::uint8_t, void* user_data) {
    PeerReply& reply = self(user_data).replies[frame->hd.stream_id];
    const std::string key(reinterpret_cast<const char*>(name), name_bytes);
    const std::string text(reinterpret_cast<const char*>(value), value_bytes);
    if (key != ":status") {
      reply.fields.emplace_back(key, text);
    } else if (text == "100") {
      reply.interim = 100;
    } else {
      reply.status = std::stoi(text);
    }
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    Http2Peer& peer = self(user_data);
    if (frame->hd.type == NGHTTP2_GOAWAY) {
      peer.goaways.emplace_back(frame->goaway.last_stream_id, frame->goaway.error_code);
    }
    if (frame->hd.type == NGHTTP2_PING && frame->hd.flags == 0) ++peer.pings;
    if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      peer.replies[frame->hd.stream_id].ended = true;
    }
    return 0;
  }
  static int on_chunk(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                      std::size_t size, void* user_data) {
    PeerReply& reply = self(user_data).replies[id];
    reply.body_bytes += size;
    if (reply.body.size() < (16U << 20)) {
      reply.body.append(reinterpret_cast<const char*>(data), size);
    }
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t error, void* user_data) {
    PeerReply& reply = self(user_data).replies[id];
    reply.closed = true;
    reply.error = error;
    return 0;
  }

  int fd_;
  nghttp2_session* session_ = nullptr;
  std::string outgoing_;
  std::string scanned_;
  std::vector<std::unique_ptr<Upload>> uploads_;
};

}  // namespace weir::http
