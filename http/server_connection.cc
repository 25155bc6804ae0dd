#include "http/server_connection.h"

#include <string_view>
#include <utility>

#include "http/http1_session.h"
#include "http/http2_session.h"
#include "http/session.h"

namespace weir::http {
namespace {

std::unique_ptr<Session> make_session(ServerConnection& connection, const io::StreamInfo& info) {
  if (info.alpn == "h2") return make_http2_session(connection);
  return std::make_unique<Http1Session>(connection);
}

constexpr std::string_view kHttp2PrefaceStart = "PRI * HTTP/2.0\r\n\r\n";

}  // namespace

ServerConnection::ServerConnection(io::EventLoop& loop, int fd, std::uint64_t id,
                                   io::StreamOptions options, ExchangeHandler& handler,
                                   ConnectionRegistry& registry)
    : id_(id),
      handler_(handler),
      registry_(registry),
      stream_(loop, fd, *this, std::move(options)) {}

ServerConnection::~ServerConnection() = default;

void ServerConnection::drain() {
  draining_ = true;
  if (session_ != nullptr) session_->drain();
}

void ServerConnection::abort() {
  stream_.abort();
}

void ServerConnection::maybe_destroy() {
  if (!stream_closed_ || (session_ != nullptr && session_->exchanges() > 0)) return;
  registry_.on_connection_closed(*this, close_reason_);
  unlink();
  delete this;
}

void ServerConnection::on_open(const io::StreamInfo& info) {
  session_ = make_session(*this, info);
  version_known_ = info.tls;
  if (draining_) session_->drain();
}

void ServerConnection::on_data(std::span<const std::uint8_t> bytes) {
  if (version_known_) return session_->on_data(bytes);
  // Without ALPN a client may still know that we speak HTTP/2 (RFC 9113 3.3).
  first_bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const bool http2 = first_bytes_.starts_with(kHttp2PrefaceStart);
  if (!http2 && kHttp2PrefaceStart.starts_with(first_bytes_)) return;
  if (http2) {
    session_ = make_http2_session(*this);
    if (draining_) session_->drain();
  }
  give_first_bytes();
}

void ServerConnection::give_first_bytes() {
  version_known_ = true;
  const std::string first = std::exchange(first_bytes_, {});
  if (first.empty()) return;
  session_->on_data({reinterpret_cast<const std::uint8_t*>(first.data()), first.size()});
}

void ServerConnection::on_end_of_data() {
  if (session_ == nullptr) return;
  give_first_bytes();
  session_->on_end_of_data();
}

void ServerConnection::on_write_turn(std::size_t bytes_max) {
  session_->on_write_turn(bytes_max);
}

void ServerConnection::on_flushed() {
  if (session_ != nullptr) session_->on_flushed();
}

void ServerConnection::on_closed(io::CloseReason reason) {
  stream_closed_ = true;
  close_reason_ = reason;
  if (session_ != nullptr) session_->on_stream_closed();
  maybe_destroy();
}

}  // namespace weir::http
