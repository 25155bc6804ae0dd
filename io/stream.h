#pragma once
// Stream: a byte stream over a Socket, with TLS or without. It owns the TLS engine and the output
// buffer (drawn from the loop's recycler only while output exists, kStreamOutputBytesMax), runs
// handshakes as heavy work, coalesces writes to one send a turn, and asks its handler for more
// output through the loop's WriteScheduler. An idle Stream owns no buffers. Loop thread only.

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/buffer_recycler.h"
#include "io/socket.h"
#include "io/tls_engine.h"
#include "io/write_scheduler.h"

namespace weir::io {

enum class CloseReason : std::uint8_t {
  peer_closed,  // orderly end by the peer
  local,        // we closed
  reset,        // the peer or the network cut it
  handshake_failed,
  handshake_timeout,
  plain_http,   // plain HTTP bytes on a TLS port (answered with a 400 that says so)
  no_progress,  // output unread for kStreamStallTimeout
};
const char* to_string(CloseReason reason);

struct StreamInfo {
  std::string peer_address;  // numeric, without port; after PROXY v2 the address it names
  std::uint16_t peer_port = 0;
  bool tls = false;
  bool tls_resumed = false;
  std::string_view tls_version;  // static string, "TLSv1.3"
  std::string alpn;              // "h2", "http/1.1" or empty
  std::string server_name;       // SNI, or empty
};

class StreamHandler {
 public:
  // The handshake is done (or there is none): bytes may flow.
  virtual void on_open(const StreamInfo& info) = 0;
  // Plaintext, lent for the call. The handler takes all of it; pause_reading() stops further calls
  // after the bytes already decrypted (at most kRecvBufferBytes).
  virtual void on_data(std::span<const std::uint8_t> bytes) = 0;
  // The peer will send nothing more (it may still read).
  virtual void on_end_of_data() = 0;
  // Your turn to write: produce up to about `bytes_max` with write(). Follows want_write().
  virtual void on_write_turn(std::size_t bytes_max) = 0;
  // Everything written has been handed to the kernel.
  virtual void on_flushed() {}
  // Last call; the Stream may be destroyed inside it.
  virtual void on_closed(CloseReason reason) = 0;

 protected:
  ~StreamHandler() = default;
};

inline constexpr std::size_t kStreamOutputBytesMax = kOutputBufferBytes;  // 4 maximal TLS records
inline constexpr Duration kHandshakeTimeout = 10s;
inline constexpr Duration kStreamStallTimeout = 60s;  // no byte of pending output taken by the peer
// Handshakes of one loop. Begun and not ended: ~60 KiB each, ~60 MiB for peers that begin and then
// say nothing; a newcomer beyond takes the place of the one whose peer has been silent longest.
// Waiting for the processor before their first flight: ~0.25 s of signatures, beyond which a
// newcomer is closed before any cryptography is done for it.
inline constexpr std::size_t kHandshakesInFlightMax = 1024;
inline constexpr std::size_t kHandshakesQueuedMax = 512;

struct StreamOptions {
  TlsContext* tls = nullptr;  // nullptr: plain
  TlsRole role = TlsRole::server;
  std::string server_name;       // client role: SNI and the name to verify
  bool expect_proxy_v2 = false;  // a PROXY v2 header must come first (peer is on a listed network)
  std::size_t handshakes_in_flight_max = kHandshakesInFlightMax;  // of the loop; servers only
};

// TLS handshakes begun and not ended on the calling loop thread.
std::size_t handshakes_in_flight();

class Stream final : SocketHandler, WriteSource {
 public:
  Stream(EventLoop& loop, int fd, StreamHandler& handler, StreamOptions options);
  ~Stream();

  // Starts the handshake or, without TLS, opens at once (on_open comes from a later turn).
  void start();

  // Takes at most room() bytes of plaintext; returns how many. Flushed at the end of the turn.
  std::size_t write(std::span<const std::uint8_t> bytes);
  std::size_t room() const;
  // Asks for an on_write_turn() under `flow`, as soon as there is room and the flow's turn comes.
  void want_write(WriteFlow flow);

  void pause_reading();
  void resume_reading();
  bool reading_paused() const { return reading_paused_; }

  // Orderly end: flush, close_notify, half-close, drain what the peer still sends (up to
  // kLingerBytesMax or kLingerTimeout) so that it can read our last answer, then close.
  void close_gracefully();
  // At once; pending output is dropped.
  void abort();

  const StreamInfo& info() const { return info_; }
  EventLoop& loop() { return loop_; }
  int fd() const { return socket_.fd(); }
  std::uint64_t bytes_received() const { return bytes_received_; }  // on the wire
  std::uint64_t bytes_sent() const { return bytes_sent_; }
  // Unsent plaintext and records held for this stream.
  std::size_t output_pending() const;

 private:
  struct Impl;
  friend struct Impl;
  enum class Phase : std::uint8_t {
    idle,         // not started
    proxy,        // waits for the PROXY header
    first_bytes,  // a TLS server that has heard nothing yet: it owns no engine
    handshake,
    opening,  // on_open() comes at the end of this turn
    open,
    finishing,  // sends what is left, then half-closes
    lingering,  // drops what the peer still sends
    closed,     // the socket's close protocol runs
  };
  // SocketHandler
  void on_recv(std::span<const std::uint8_t> bytes) override;
  void on_sent(std::size_t bytes) override;
  void on_error(int sys_errno) override;
  void on_closed() override;
  // WriteSource
  std::size_t write_some(std::size_t bytes_max) override;

  // Ways in
  void begin_transport(std::span<const std::uint8_t> bytes);
  void proxy_bytes(std::span<const std::uint8_t> bytes);
  void first_bytes(std::span<const std::uint8_t> bytes);
  static bool oldest_handshake_gives_way();
  void refuse_plain_http();
  void begin_handshake();
  void queue_handshake();
  void step_handshake();
  void leave_handshake();
  void open();
  // Input
  void deliver();
  void deliver_plaintext();
  void receive_more();
  void end_of_input();
  void drop_input(std::size_t bytes);
  // Output
  void flush();
  void write_when_possible();
  bool may_write() const;
  // Ways out
  void fail(CloseReason reason);
  void advance_finish();
  void linger();
  void close(CloseReason reason);
  // Timer
  void arm_timer(Duration after);
  void timer_expired();
  void check_linger();
  void check_stall();
  void at_turn_end();

  EventLoop& loop_;
  StreamHandler& handler_;
  StreamOptions options_;
  StreamInfo info_;
  Socket socket_;
  std::unique_ptr<Impl> impl_;
  Phase phase_ = Phase::idle;
  bool reading_paused_ = false;
  std::uint64_t bytes_received_ = 0;
  std::uint64_t bytes_sent_ = 0;
};

inline constexpr std::size_t kLingerBytesMax = 64 * 1024;
inline constexpr Duration kLingerTimeout = 1s;  // in which the peer acknowledged nothing new

}  // namespace weir::io
