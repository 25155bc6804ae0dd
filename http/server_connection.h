#pragma once
// ServerConnection: one accepted connection: a Stream and, after ALPN, an Http1Session or
// Http2Session on it (without TLS: HTTP/2 when the client begins with its preface). Made with new;
// destroys itself when the stream is closed and every exchange was released, and tells its
// registry. Timeouts (progress, not totals): request head kHeadTimeout from its first byte, idle
// keep-alive kIdleTimeoutHttp1 / kIdleTimeoutHttp2, body at least kBodyBytesPerSecondMin after a
// grace, response stalls by the Stream. Loop thread only.

#include <cstdint>
#include <memory>
#include <string>

#include "http/exchange.h"
#include "io/stream.h"

namespace weir::http {

inline constexpr io::Duration kHeadTimeout = std::chrono::seconds(10);
// Long enough for a human to type a password.
inline constexpr io::Duration kIdleTimeoutHttp1 = std::chrono::seconds(75);
inline constexpr io::Duration kIdleTimeoutHttp2 = std::chrono::seconds(75);
inline constexpr io::Duration kBodyGrace = std::chrono::seconds(30);
inline constexpr std::uint64_t kBodyBytesPerSecondMin = 1024;  // averaged over the grace window
inline constexpr std::uint32_t kRequestsPerConnectionMax = 10'000;  // then load rebalances

class ServerConnection;

// Who keeps connections: counts them, drains them. Called on the loop thread.
class ConnectionRegistry {
 public:
  virtual void on_connection_closed(ServerConnection& connection, io::CloseReason reason) = 0;

 protected:
  ~ConnectionRegistry() = default;
};

class Session;  // http/session.h: what Http1Session and Http2Session have in common

class ServerConnection final : public io::ListNode<ServerConnection>, io::StreamHandler {
 public:
  ServerConnection(io::EventLoop& loop, int fd, std::uint64_t id, io::StreamOptions options,
                   ExchangeHandler& handler, ConnectionRegistry& registry);
  ~ServerConnection();

  void start() { stream_.start(); }
  // No new requests: HTTP/2 two-step GOAWAY; HTTP/1 Connection: close on the next answer.
  void drain();
  void abort();

  io::Stream& stream() { return stream_; }
  std::uint64_t id() const { return id_; }
  ExchangeHandler& handler() { return handler_; }
  // For sessions: the last exchange was released after the stream closed.
  void maybe_destroy();

 private:
  void on_open(const io::StreamInfo& info) override;
  void on_data(std::span<const std::uint8_t> bytes) override;
  void on_end_of_data() override;
  void on_write_turn(std::size_t bytes_max) override;
  void on_flushed() override;
  void on_closed(io::CloseReason reason) override;
  void give_first_bytes();

  std::uint64_t id_;
  ExchangeHandler& handler_;
  ConnectionRegistry& registry_;
  io::Stream stream_;
  std::unique_ptr<Session> session_;
  std::string first_bytes_;  // while they may become HTTP/2's preface
  bool version_known_ = false;
  bool draining_ = false;
  bool stream_closed_ = false;
  io::CloseReason close_reason_ = io::CloseReason::local;
};

}  // namespace weir::http
