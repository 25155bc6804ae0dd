#pragma once
// ClientSession: what a ClientConnection needs of an HTTP version, and ClientCall, the state of one
// request that the session and the response's reader share. A call belongs to its session until it
// has ended; after that `session` is null. Loop thread only.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "http/client_connection.h"
#include "io/signal.h"

namespace weir::http {

class ClientSession;

struct ClientCall {
  ClientRequest request;
  std::string length_text;  // content-length of the request, as text
  std::size_t body_bytes_sent = 0;

  int status = 0;
  ClientFields fields;
  std::size_t head_bytes = 0;
  bool head_done = false;
  bool ended = false;  // the body is complete
  std::optional<io::Error> error;
  std::string queue;    // received, not read
  std::string current;  // lent to the reader
  io::Signal changed;

  ClientSession* session = nullptr;
  std::int32_t stream_id = 0;  // HTTP/2

  std::span<const std::uint8_t> body_left() const { return request.body.subspan(body_bytes_sent); }
  void deliver(std::span<const std::uint8_t> bytes) {
    queue.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    changed.notify();
  }
  void end() {
    ended = true;
    session = nullptr;
    changed.notify();
  }
  void fail(io::Errc code, const char* where) {
    if (!ended && !error) error = io::Error{code, 0, where};
    session = nullptr;
    changed.notify();
  }
};

class ClientSession {
 public:
  virtual ~ClientSession() = default;
  virtual Version version() const = 0;
  virtual bool usable() const = 0;
  virtual io::Result<void> start(std::shared_ptr<ClientCall> call) = 0;
  // The reader has taken `bytes` of the call's queue.
  virtual void consumed(ClientCall& call, std::size_t bytes) = 0;
  // Nobody waits for the call any more.
  virtual void cancel(ClientCall& call) = 0;
  virtual void on_data(std::span<const std::uint8_t> bytes) = 0;
  virtual void on_end_of_data() = 0;
  virtual void on_write_turn(std::size_t bytes_max) = 0;
  virtual void on_closed() = 0;
};

std::unique_ptr<ClientSession> make_http1_client(io::Stream& stream);
std::unique_ptr<ClientSession> make_http2_client(io::Stream& stream, std::int32_t window_bytes);

}  // namespace weir::http
