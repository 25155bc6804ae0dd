#pragma once
// For tests of Stream: a handler whose callbacks are hooks, that sends what it is told under
// back-pressure and keeps what it receives; and a bare peer on the other end of a socket pair.

#include <functional>
#include <optional>
#include <string>

#include "io/stream.h"
#include "tests/io/test_loop.h"
#include "tests/io/tls_pair.h"

namespace weir::io {

class TestStream final : public StreamHandler {
 public:
  TestStream(EventLoop& loop, int fd, StreamOptions options = {})
      : stream(std::in_place, loop, fd, *this, std::move(options)) {
    stream->start();
  }
  // A test ends with every stream closed: see closed().
  bool closed() const { return reason.has_value(); }

  void send(std::string_view text) {
    to_send += text;
    if (opened && !closed()) stream->want_write({});
  }

  void on_open(const StreamInfo& opened_with) override {
    info = opened_with;
    opened = true;
    if (!to_send.empty()) stream->want_write({});
    if (at_open) at_open();
  }
  void on_data(std::span<const std::uint8_t> bytes) override {
    EXPECT_FALSE(ended);
    received.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (at_data) at_data();
  }
  void on_end_of_data() override {
    EXPECT_FALSE(ended);
    ended = true;
    if (at_end) at_end();
  }
  void on_write_turn(std::size_t bytes_max) override {
    ++write_turns;
    while (sent_bytes < to_send.size() && bytes_max > 0 && stream->room() > 0) {
      const std::size_t wanted = std::min({to_send.size() - sent_bytes, bytes_max, stream->room()});
      const std::size_t taken =
          stream->write(bytes_of(std::string_view(to_send).substr(sent_bytes, wanted)));
      EXPECT_EQ(taken, wanted);  // room() is room
      sent_bytes += taken;
      bytes_max -= taken;
    }
    if (sent_bytes < to_send.size()) stream->want_write({});
    if (at_write_turn) at_write_turn();
  }
  void on_flushed() override {
    ++flushes;
    if (at_flushed) at_flushed();
  }
  void on_closed(CloseReason why) override {
    EXPECT_FALSE(closed());
    reason = why;
    stream.reset();
  }

  std::optional<Stream> stream;
  StreamInfo info;
  bool opened = false, ended = false;
  std::optional<CloseReason> reason;
  std::string to_send, received;
  std::size_t sent_bytes = 0;
  int write_turns = 0, flushes = 0;
  std::function<void()> at_open, at_data, at_end, at_write_turn, at_flushed;
};

// The other end without a Stream: what it sends is exactly what it is told.
class BarePeer {
 public:
  explicit BarePeer(int fd) : fd_(fd) {}
  ~BarePeer() { close(); }
  BarePeer(const BarePeer&) = delete;
  BarePeer& operator=(const BarePeer&) = delete;

  void send(std::string_view bytes) const { EXPECT_EQ(send_some(bytes), bytes.size()); }
  // What the kernel takes now.
  std::size_t send_some(std::string_view bytes) const {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    EXPECT_TRUE(sent >= 0 || errno == EAGAIN);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }
  // Takes what has come; true at the end of the stream or when it was cut.
  bool take() {
    char space[65536];
    for (;;) {
      const ssize_t bytes = ::recv(fd_, space, sizeof space, 0);
      if (bytes < 0 && errno == EAGAIN) return false;
      if (bytes <= 0) return true;
      received.append(space, static_cast<std::size_t>(bytes));
    }
  }
  void half_close() const { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  std::string received;

 private:
  int fd_;
};

inline StreamOptions tls_server_options(TlsContext& context) {
  StreamOptions options;
  options.tls = &context;
  return options;
}

inline StreamOptions tls_client_options(TlsContext& context) {
  StreamOptions options;
  options.tls = &context;
  options.role = TlsRole::client;
  options.server_name = "localhost";
  return options;
}

inline std::string test_pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 2654435761U >> 13);
  return text;
}

// Two streams that speak to each other, plain or with TLS.
struct StreamPair {
  explicit StreamPair(bool tls) {
    const auto fds = socket_pair();
    if (tls) {
      server_context = make_server({TestCertificates::localhost()});
      client_context = make_client({"h2"}, TestCertificates::localhost().certificate_path);
      server.emplace(test_loop.loop, fds[0], tls_server_options(*server_context));
      client.emplace(test_loop.loop, fds[1], tls_client_options(*client_context));
    } else {
      server.emplace(test_loop.loop, fds[0]);
      client.emplace(test_loop.loop, fds[1]);
    }
  }
  ~StreamPair() {
    for (auto* end : {&server, &client}) {
      if (!(*end)->closed()) (*end)->stream->abort();
    }
    test_loop.run_until([&] { return server->closed() && client->closed(); });
    EXPECT_EQ(output_buffers_lent(), 0);
    EXPECT_EQ(handshakes_in_flight(), 0U);
  }
  bool open() {
    return test_loop.run_until([&] { return server->opened && client->opened; });
  }

  TestLoop test_loop;
  std::shared_ptr<TlsContext> server_context, client_context;
  std::optional<TestStream> server, client;
};

}  // namespace weir::io
