#pragma once
// ClientConnection: one connection to an HTTP server, HTTP/2 by ALPN or HTTP/1.1, for the project's
// own tests. Simple on purpose: no pool, no redirects, no retries. HTTP/1 carries one request at a
// time, HTTP/2 as many as the server allows. Destroying it cuts the connection; its loop goes on to
// join the descriptor. Bounded: response heads (kResponseHeadBytesMax), collected
// bodies (ClientRequest::collect_bytes_max), unread streamed bodies (the window;
// kClientQueueBytesMax on HTTP/1). Failures are Errors: closed, protocol, limit, deadline_exceeded.
// Loop thread only.
//
//   auto connection = co_await connect_client(loop, "127.0.0.1:8443", options, deadline);
//   ClientRequest ask;
//   ask.path = "/demo/info/refs?service=git-upload-pack";
//   auto answer = co_await (*connection)->request(std::move(ask), deadline);

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/message.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/stream.h"
#include "io/task.h"

namespace weir::http {

struct ClientCall;

inline constexpr std::size_t kResponseHeadBytesMax = 64 * 1024;
inline constexpr std::size_t kClientQueueBytesMax = 1024 * 1024;

struct ClientOptions {
  io::TlsContext* tls = nullptr;                       // nullptr: plain
  std::string server_name;                             // SNI, and the name to verify
  bool http2_without_tls = false;                      // plain: HTTP/2 by prior knowledge
  std::int32_t http2_window_bytes = 16 * 1024 * 1024;  // per stream; twice that per connection
};

using ClientFields = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct ClientRequest {
  std::string method = "GET";
  std::string path = "/";
  std::string authority = "localhost";
  ClientFields headers;
  // Borrowed until the response is complete or dropped.
  std::span<const std::uint8_t> body;
  bool chunked = false;  // announce no length (HTTP/1: chunked transfer coding)
  // The whole body is awaited and put into ClientResponse::body; more is Errc::limit. 0: request()
  // returns with the head, and read_body() streams.
  std::size_t collect_bytes_max = 64 * 1024 * 1024;
};

class ClientResponse {
 public:
  ClientResponse() = default;
  explicit ClientResponse(std::shared_ptr<ClientCall> call);
  ClientResponse(ClientResponse&&) noexcept = default;
  ClientResponse& operator=(ClientResponse&& other) noexcept;
  ~ClientResponse();  // cancels what was not read to its end

  int status = 0;
  Version version = Version::http11;
  ClientFields headers;
  std::string body;  // when collected

  std::optional<std::string_view> header(std::string_view name) const;
  // The next bytes; empty = the end. Valid until the next call.
  io::Task<io::Result<std::span<const std::uint8_t>>> read_body(
      io::Deadline deadline = io::Deadline::never());
  // Reads the rest into `body`.
  io::Task<io::Result<void>> collect(std::size_t bytes_max,
                                     io::Deadline deadline = io::Deadline::never());

 private:
  std::shared_ptr<ClientCall> call_;
};

class ClientConnection {
 public:
  class Impl;
  explicit ClientConnection(Impl* impl) : impl_(impl) {}
  ~ClientConnection();
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  io::Task<io::Result<ClientResponse>> request(ClientRequest what,
                                               io::Deadline deadline = io::Deadline::never());
  // Orderly end; returns when the descriptor is closed.
  io::Task<void> close();
  // A further request may be sent: open, no goodbye from the server, not busy (HTTP/1).
  bool usable() const;
  Version version() const;
  const io::StreamInfo& peer() const;

 private:
  Impl* impl_;
};

// `address`: "127.0.0.1:8443", "[::1]:8443" or "unix:/path"; numeric, no name service.
io::Task<io::Result<std::unique_ptr<ClientConnection>>> connect_client(
    io::EventLoop& loop, std::string address, ClientOptions options,
    io::Deadline deadline = io::Deadline::never());
// The same on a connected non-blocking socket, which it takes over.
io::Task<io::Result<std::unique_ptr<ClientConnection>>> connect_client_fd(
    io::EventLoop& loop, int fd, ClientOptions options,
    io::Deadline deadline = io::Deadline::never());

}  // namespace weir::http
