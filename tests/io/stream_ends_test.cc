// How a Stream begins and ends with peers that do not behave: bare sockets against one Stream.

#include <memory>
#include <vector>

#include "tests/io/test_stream.h"

namespace weir::io {
namespace {

using std::string_literals::operator""s;

// A server stream and a bare peer, on a clock that only the test moves.
struct Bare {
  explicit Bare(bool tls, StreamOptions options = {}) : loop(0, test_backend(), clock) {
    EXPECT_TRUE(loop.start().has_value());
    const auto fds = socket_pair();
    if (tls) {
      context = make_server({TestCertificates::localhost()});
      options.tls = context.get();
    }
    peer.emplace(fds[1]);
    server.emplace(loop, fds[0], options);
  }
  ~Bare() {
    if (!server->closed()) server->stream->abort();
    until([&] { return server->closed(); });
    EXPECT_EQ(output_buffers_lent(), 0);
    EXPECT_EQ(handshakes_in_flight(), 0U);
  }
  template <typename Done>
  bool until(Done done) {
    const SystemClock real;
    const Instant give_up = real.now() + kTestPatience;
    while (!done()) {
      if (real.now() > give_up) {
        ADD_FAILURE() << "the awaited condition never came";
        return false;
      }
      loop.turn(Instant::min());
    }
    return true;
  }
  bool until_peer_ended() {
    return until([&] { return peer->take(); });
  }
  bool until_closed() {
    return until([&] { return server->closed(); });
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) loop.turn(Instant::min());
  }

  ManualClock clock;
  EventLoop loop;
  std::shared_ptr<TlsContext> context;
  std::optional<BarePeer> peer;
  std::optional<TestStream> server;
};

TEST(StreamEnds, plain_http_on_a_tls_port_is_told_to_use_https) {
  for (const char* request : {"GET /a/b.git/info/refs HTTP/1.1\r\nHost: x\r\n\r\n", "P",
                              "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}) {
    Bare bare(true);
    bare.peer->send(request);
    bare.until_peer_ended();
    EXPECT_TRUE(bare.peer->received.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    EXPECT_NE(bare.peer->received.find("This is a TLS port"), std::string::npos);
    EXPECT_NE(bare.peer->received.find("https://"), std::string::npos);
    bare.peer->close();
    bare.until_closed();
    EXPECT_EQ(bare.server->reason, CloseReason::plain_http);
    EXPECT_FALSE(bare.server->opened);
  }
}

TEST(StreamEnds, garbage_on_a_tls_port_gets_an_alert_and_the_end) {
  Bare bare(true);
  bare.peer->send("\x16\x03\x01\x00\x04\x02\x00\x00\x00"s);
  bare.until_peer_ended();
  ASSERT_EQ(bare.peer->received.size(), 7U);
  EXPECT_EQ(bare.peer->received[0], '\x15');
  bare.peer->close();
  bare.until_closed();
  EXPECT_EQ(bare.server->reason, CloseReason::handshake_failed);
}

TEST(StreamEnds, a_handshake_that_does_not_come_times_out) {
  for (const std::string& begun : {""s, "\x16\x03\x01\x02\x00\x01"s}) {
    Bare bare(true);
    if (!begun.empty()) bare.peer->send(begun);
    bare.turns(5);
    bare.clock.advance(kHandshakeTimeout - 1000ms);
    bare.turns(5);
    EXPECT_FALSE(bare.server->closed());
    bare.clock.advance(1100ms);
    bare.until_closed();
    EXPECT_EQ(bare.server->reason, CloseReason::handshake_timeout);
  }
}

TEST(StreamEnds, a_probe_that_says_nothing_is_no_failed_handshake) {
  Bare silent(true);
  silent.peer->close();
  silent.until_closed();
  EXPECT_EQ(silent.server->reason, CloseReason::peer_closed);
  Bare begun(true);
  begun.peer->send("\x16\x03\x01\x02\x00\x01"s);
  begun.peer->half_close();
  begun.until_closed();
  EXPECT_EQ(begun.server->reason, CloseReason::handshake_failed);
}

TEST(StreamEnds, beyond_their_bound_the_handshake_silent_longest_gives_way) {
  StreamOptions options;
  options.handshakes_in_flight_max = 2;
  Bare first(true, options);
  first.peer->send("\x16\x03\x01\x02\x00\x01"s);
  first.turns(5);
  options.tls = first.context.get();
  std::vector<std::unique_ptr<BarePeer>> peers;
  std::vector<std::unique_ptr<TestStream>> later;
  for (int i = 0; i < 2; ++i) {
    const auto fds = socket_pair();
    peers.push_back(std::make_unique<BarePeer>(fds[1]));
    later.push_back(std::make_unique<TestStream>(first.loop, fds[0], options));
    EXPECT_FALSE(first.server->closed());
    peers.back()->send("\x16\x03\x01\x02\x00\x01"s);
    first.turns(5);
  }
  first.until_closed();
  EXPECT_EQ(first.server->reason, CloseReason::handshake_timeout);
  EXPECT_EQ(handshakes_in_flight(), 2U);
  for (const auto& one : later) EXPECT_FALSE(one->closed());
  for (const auto& one : later) one->stream->abort();
  first.until([&] { return later[0]->closed() && later[1]->closed(); });
}

TEST(StreamEnds, where_nobody_can_give_way_a_handshake_is_closed_before_it_costs) {
  StreamOptions options;
  options.handshakes_in_flight_max = 0;
  Bare bare(true, options);
  bare.peer->send("\x16\x03\x01\x02\x00\x01"s);
  bare.until_closed();
  EXPECT_TRUE(bare.peer->take());
  EXPECT_EQ(bare.peer->received, "");
  EXPECT_EQ(bare.server->reason, CloseReason::handshake_failed);
}

TEST(StreamEnds, output_that_nobody_reads_ends_after_the_stall_timeout) {
  Bare bare(false);
  bare.server->send(test_pattern(8 * 1024 * 1024));
  bare.turns(20);
  bare.clock.advance(kStreamStallTimeout - 1000ms);
  bare.turns(5);
  EXPECT_FALSE(bare.server->closed());
  bare.peer->take();
  bare.turns(20);  // progress: the clock of the stall begins again
  bare.clock.advance(kStreamStallTimeout - 1000ms);
  bare.turns(5);
  EXPECT_FALSE(bare.server->closed());
  bare.clock.advance(2000ms);
  bare.until_closed();
  EXPECT_EQ(bare.server->reason, CloseReason::no_progress);
}

TEST(StreamEnds, who_breaks_the_session_while_output_waits_for_him_is_cut_after_the_stall_timeout) {
  ManualClock clock;
  EventLoop loop(0, test_backend(), clock);
  ASSERT_TRUE(loop.start().has_value());
  const auto server_context = make_server({TestCertificates::localhost()});
  const auto client_context = make_client({"h2"}, TestCertificates::localhost().certificate_path);
  const auto fds = socket_pair();
  TestStream server(loop, fds[0], tls_server_options(*server_context));
  TestStream client(loop, fds[1], tls_client_options(*client_context));
  const auto turns = [&](int count) {
    for (int i = 0; i < count; ++i) loop.turn(Instant::min());
  };
  while (!server.opened || !client.opened) turns(1);
  client.stream->pause_reading();
  server.send(test_pattern(8 * 1024 * 1024));
  turns(20);
  const std::string record = "\x17\x03\x03\x00\x13 no record of this key"s;
  EXPECT_GT(::send(client.stream->fd(), record.data(), record.size(), MSG_NOSIGNAL), 0);
  turns(20);
  EXPECT_FALSE(server.closed());
  clock.advance(kStreamStallTimeout + 1000ms);
  turns(20);
  EXPECT_TRUE(server.closed());
  for (TestStream* end : {&server, &client}) {
    if (!end->closed()) end->stream->abort();
  }
  turns(20);
  EXPECT_TRUE(client.closed());
}

TEST(StreamEnds, an_idle_stream_does_not_stall) {
  Bare bare(false);
  bare.server->send("answer");
  bare.until([&] { return bare.server->flushes == 1; });
  bare.clock.advance(10 * kStreamStallTimeout);
  bare.turns(5);
  EXPECT_FALSE(bare.server->closed());
}

TEST(StreamEnds, a_half_closed_peer_still_gets_its_answer) {
  Bare bare(false);
  bare.peer->send("request");
  bare.peer->half_close();
  bare.server->at_end = [&] {
    bare.server->send("answer");
    bare.server->at_flushed = [&] { bare.server->stream->close_gracefully(); };
  };
  bare.until_peer_ended();
  EXPECT_EQ(bare.server->received, "request");
  EXPECT_EQ(bare.peer->received, "answer");
  bare.until_closed();
  EXPECT_EQ(bare.server->reason, CloseReason::peer_closed);
}

TEST(StreamEnds, a_peer_that_is_still_sending_can_read_the_last_answer) {
  Bare bare(false);
  bare.until([&] { return bare.server->opened; });
  bare.server->at_data = [&] {
    bare.server->stream->write(bytes_of("too large"));
    bare.server->stream->close_gracefully();
  };
  bare.peer->send(std::string(1000, 'u'));
  bare.turns(5);
  bare.peer->send(std::string(1000, 'u'));
  bare.until_peer_ended();
  EXPECT_EQ(bare.peer->received, "too large");
  EXPECT_FALSE(bare.server->closed()) << "it lingers";
  bare.peer->half_close();
  bare.until_closed();
  EXPECT_EQ(bare.server->reason, CloseReason::local);
}

TEST(StreamEnds, lingering_is_bounded_in_time_and_bytes) {
  for (const bool by_time : {true, false}) {
    Bare bare(false);
    bare.until([&] { return bare.server->opened; });
    bare.server->stream->close_gracefully();
    bare.until_peer_ended();
    EXPECT_FALSE(bare.server->closed());
    if (by_time) {
      bare.clock.advance(kLingerTimeout + 10ms);
    } else {
      for (std::size_t sent = 0; sent <= kLingerBytesMax; sent += 8192) {
        bare.peer->send(std::string(8192, 'u'));
        bare.turns(3);
      }
    }
    bare.until_closed();
    EXPECT_EQ(bare.server->reason, CloseReason::local);
  }
}

const std::string kProxyTcp4 =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xd4\x31\x01\xbb"s;

StreamOptions behind_balancer() {
  StreamOptions options;
  options.expect_proxy_v2 = true;
  return options;
}

TEST(StreamEnds, the_proxy_header_names_the_peer_whatever_way_it_comes_in) {
  for (const std::size_t chunk_bytes : {1UL, 13UL, 1000UL}) {
    Bare bare(false, behind_balancer());
    const std::string bytes = kProxyTcp4 + "hello";
    for (std::size_t at = 0; at < bytes.size(); at += chunk_bytes) {
      bare.peer->send(bytes.substr(at, chunk_bytes));
      bare.turns(3);
    }
    bare.until([&] { return bare.server->received == "hello"; });
    EXPECT_EQ(bare.server->info.peer_address, "192.0.2.7");
    EXPECT_EQ(bare.server->info.peer_port, 54321);
  }
}

TEST(StreamEnds, a_tls_handshake_may_come_with_the_proxy_header) {
  Bare bare(true, behind_balancer());
  auto context = make_client();
  TlsEnd client(*context, TlsRole::client);
  client.step();
  bare.peer->send(kProxyTcp4 + std::exchange(client.sent, ""));
  bare.until([&] {
    bare.peer->take();
    if (!bare.peer->received.empty()) client.feed(std::exchange(bare.peer->received, ""));
    if (!client.sent.empty()) bare.peer->send(std::exchange(client.sent, ""));
    return bare.server->opened;
  });
  EXPECT_EQ(bare.server->info.peer_address, "192.0.2.7");
  EXPECT_TRUE(bare.server->info.tls);
}

TEST(StreamEnds, without_its_proxy_header_a_connection_is_closed) {
  for (const std::string& bytes : {"GET / HTTP/1.1\r\n\r\n"s, "\x16\x03\x01\x02\x00"s}) {
    Bare bare(true, behind_balancer());
    bare.peer->send(bytes);
    bare.until_closed();
    EXPECT_EQ(bare.server->reason, CloseReason::handshake_failed);
    EXPECT_TRUE(bare.peer->take());
    EXPECT_EQ(bare.peer->received, "");
  }
  Bare late(false, behind_balancer());
  late.peer->send(kProxyTcp4.substr(0, 20));
  late.turns(5);
  late.clock.advance(kHandshakeTimeout + 10ms);
  late.until_closed();
  EXPECT_EQ(late.server->reason, CloseReason::handshake_timeout);
}

TEST(StreamEnds, a_stream_that_was_never_started_can_be_closed) {
  struct Handler final : StreamHandler {
    void on_open(const StreamInfo&) override {}
    void on_data(std::span<const std::uint8_t>) override {}
    void on_end_of_data() override {}
    void on_write_turn(std::size_t) override {}
    void on_closed(CloseReason) override { closed = true; }
    bool closed = false;
  } handler;
  TestLoop test_loop;
  const auto fds = socket_pair();
  BarePeer peer(fds[1]);
  Stream stream(test_loop.loop, fds[0], handler, {});
  stream.close_gracefully();
  test_loop.run_until([&] { return handler.closed; });
}

}  // namespace
}  // namespace weir::io
