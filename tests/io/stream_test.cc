#include "io/stream.h"

#include <openssl/ssl.h>

#include "tests/io/test_stream.h"

namespace weir::io {
namespace {

constexpr std::size_t kBulkBytes = 8 * 1024 * 1024;

class StreamOverBoth : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Transports, StreamOverBoth, testing::Bool(),
                         [](const auto& tls) { return tls.param ? "tls" : "plain"; });

TEST_P(StreamOverBoth, tells_what_was_agreed_when_it_opens) {
  StreamPair pair(GetParam());
  ASSERT_TRUE(pair.open());
  EXPECT_EQ(pair.server->info.tls, GetParam());
  EXPECT_EQ(pair.server->info.alpn, GetParam() ? "h2" : "");
  EXPECT_EQ(pair.server->info.tls_version, GetParam() ? "TLSv1.3" : "");
  EXPECT_EQ(pair.server->info.server_name, GetParam() ? "localhost" : "");
}

TEST_P(StreamOverBoth, echoes_8_mib_both_ways_at_once) {
  StreamPair pair(GetParam());
  const std::string bulk = test_pattern(kBulkBytes);
  TestStream& server = *pair.server;
  server.at_data = [&] {
    const std::size_t given = server.to_send.size();
    server.send(std::string_view(server.received).substr(given));
  };
  pair.client->to_send = bulk;
  pair.test_loop.run_until([&] { return pair.client->received.size() >= bulk.size(); });
  EXPECT_TRUE(pair.client->received == bulk);
  pair.test_loop.run_turns(3);
  for (const TestStream* end : {&*pair.server, &*pair.client}) {
    EXPECT_EQ(end->stream->output_pending(), 0U);
    EXPECT_GE(end->flushes, 1);
  }
  EXPECT_EQ(output_buffers_lent(), 0) << "an idle stream owns no buffers";
}

TEST_P(StreamOverBoth, a_slow_reader_bounds_what_is_held_for_it) {
  StreamPair pair(GetParam());
  ASSERT_TRUE(pair.open());
  pair.client->stream->pause_reading();
  pair.server->send(test_pattern(kBulkBytes));
  for (int i = 0; i < 200; ++i) {
    pair.test_loop.run_turns(1);
    ASSERT_LE(pair.server->stream->output_pending(), 2 * kStreamOutputBytesMax);
  }
  EXPECT_LT(pair.server->sent_bytes, kBulkBytes / 4);
  EXPECT_GT(pair.server->stream->output_pending(), 0U);
  const std::size_t received_before = pair.client->received.size();
  EXPECT_LE(received_before, 16 * 1024U);
  pair.client->stream->resume_reading();
  EXPECT_EQ(pair.client->received.size(), received_before) << "never inside resume_reading()";
  pair.test_loop.run_until([&] { return pair.client->received.size() >= kBulkBytes; });
  EXPECT_TRUE(pair.client->received == test_pattern(kBulkBytes));
}

TEST_P(StreamOverBoth, reading_can_be_paused_and_resumed_at_every_delivery) {
  StreamPair pair(GetParam());
  TestStream& server = *pair.server;
  int resumes = 0;
  bool paused = false;
  server.at_data = [&] {
    EXPECT_FALSE(paused);
    server.stream->pause_reading();
    paused = true;
  };
  pair.client->to_send = test_pattern(300'000);
  pair.test_loop.run_until([&] {
    if (paused) {
      pair.test_loop.run_turns(2);
      paused = false;
      ++resumes;
      server.stream->resume_reading();
    }
    return server.received.size() >= 300'000;
  });
  EXPECT_TRUE(server.received == test_pattern(300'000));
  EXPECT_GE(resumes, 10);
}

TEST_P(StreamOverBoth, a_graceful_close_delivers_everything_first) {
  StreamPair pair(GetParam());
  const std::string answer = test_pattern(1'000'000);
  pair.server->to_send = answer;
  pair.server->at_write_turn = [&] {
    if (pair.server->sent_bytes == answer.size()) pair.server->stream->close_gracefully();
  };
  pair.client->at_end = [&] { pair.client->stream->close_gracefully(); };
  pair.test_loop.run_until([&] { return pair.server->closed() && pair.client->closed(); });
  EXPECT_TRUE(pair.client->received == answer);
  EXPECT_TRUE(pair.client->ended);
  EXPECT_EQ(pair.client->reason, CloseReason::peer_closed);
  EXPECT_EQ(pair.server->reason, CloseReason::local);
}

TEST_P(StreamOverBoth, the_other_direction_works_after_the_peers_end_of_data) {
  StreamPair pair(GetParam());
  // Ends its own direction only when the answer has come.
  pair.client->to_send = "request";
  pair.server->at_data = [&] { pair.server->send("answer"); };
  pair.client->at_data = [&] { pair.client->stream->close_gracefully(); };
  pair.server->at_end = [&] { pair.server->stream->close_gracefully(); };
  pair.test_loop.run_until([&] { return pair.server->closed() && pair.client->closed(); });
  EXPECT_EQ(pair.client->received, "answer");
  EXPECT_EQ(pair.server->reason, CloseReason::peer_closed);
}

TEST_P(StreamOverBoth, abort_midway_ends_both_ends_once) {
  for (const bool by_server : {true, false}) {
    StreamPair pair(GetParam());
    ASSERT_TRUE(pair.open());
    TestStream& one = by_server ? *pair.server : *pair.client;
    TestStream& other = by_server ? *pair.client : *pair.server;
    one.send(test_pattern(kBulkBytes));
    other.send(test_pattern(kBulkBytes));
    other.at_end = [&] { other.stream->abort(); };
    pair.test_loop.run_until([&] { return one.received.size() > 100'000; });
    one.stream->abort();
    pair.test_loop.run_until([&] { return one.closed() && other.closed(); });
    EXPECT_EQ(one.reason, CloseReason::local);
    EXPECT_LT(other.received.size(), kBulkBytes);
  }
}

TEST_P(StreamOverBoth, every_callback_may_end_the_stream) {
  for (const bool graceful : {true, false}) {
    for (int which = 0; which < 5; ++which) {
      StreamPair pair(GetParam());
      TestStream& server = *pair.server;
      int calls = 0;
      const auto end = [&] {
        ++calls;
        graceful ? server.stream->close_gracefully() : server.stream->abort();
        server.stream->want_write({});
        server.stream->pause_reading();
        server.stream->resume_reading();
        EXPECT_EQ(server.stream->write(bytes_of("late")), 0U);
        EXPECT_EQ(server.stream->room(), 0U);
      };
      std::function<void()>* const hooks[] = {&server.at_open, &server.at_data, &server.at_end,
                                              &server.at_write_turn, &server.at_flushed};
      *hooks[which] = end;
      server.to_send = test_pattern(20'000);  // the client drops it all while it lingers
      pair.client->to_send = test_pattern(200'000);
      pair.client->at_write_turn = [&] {
        if (pair.client->sent_bytes == 200'000) pair.client->stream->close_gracefully();
      };
      pair.client->at_end = [&] { pair.client->stream->close_gracefully(); };
      pair.test_loop.run_until([&] { return server.closed(); });
      EXPECT_EQ(calls, 1) << which;
    }
  }
}

// --- what leaves, seen by a bare engine

struct EngineClient {
  explicit EngineClient(StreamOptions options = {}) {
    server_context = make_server({TestCertificates::localhost()});
    client_context = make_client({"h2"});
    const auto fds = socket_pair();
    options.tls = server_context.get();
    server.emplace(test_loop.loop, fds[0], options);
    peer.emplace(fds[1]);
    end.emplace(*client_context, TlsRole::client);
  }
  ~EngineClient() {
    if (!server->closed()) server->stream->abort();
    test_loop.run_until([&] { return server->closed(); });
    EXPECT_EQ(output_buffers_lent(), 0);
  }
  // Carries bytes; keeps the lengths of the records that came.
  void carry() {
    if (!end->sent.empty()) peer->send(std::exchange(end->sent, ""));
    peer->take();
    wire += peer->received;
    if (!peer->received.empty()) end->feed(std::exchange(peer->received, ""));
  }
  bool open() {
    end->step();
    return test_loop.run_until([&] {
      carry();
      return server->opened && end->engine.handshake_done();
    });
  }
  std::vector<std::size_t> record_bytes() const {
    std::vector<std::size_t> lengths;
    for (std::size_t at = 0; at + 5 <= wire.size();) {
      const auto high = static_cast<std::uint8_t>(wire[at + 3]);
      lengths.push_back(static_cast<std::size_t>(high) << 8 |
                        static_cast<std::uint8_t>(wire[at + 4]));
      at += 5 + lengths.back();
    }
    return lengths;
  }

  TestLoop test_loop;
  std::shared_ptr<TlsContext> server_context, client_context;
  std::optional<TestStream> server;
  std::optional<BarePeer> peer;
  std::optional<TlsEnd> end;
  std::string wire;
};

TEST(Stream, packs_frames_and_their_headers_into_full_records) {
  EngineClient client;
  ASSERT_TRUE(client.open());
  client.wire.clear();
  const std::string header(9, 'h'), body = test_pattern(16'384 - 9);
  std::string wanted;
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(client.server->stream->room(), (4U - static_cast<unsigned>(i)) * 16'384U);
    EXPECT_EQ(client.server->stream->write(bytes_of(header)), header.size());
    EXPECT_EQ(client.server->stream->write(bytes_of(body)), body.size());
    wanted += header + body;
  }
  client.test_loop.run_until([&] {
    client.carry();
    return client.end->received.size() == wanted.size();
  });
  EXPECT_TRUE(client.end->received == wanted);
  EXPECT_EQ(client.record_bytes(), std::vector<std::size_t>(4, 16'384 + 17));
}

TEST(Stream, small_writes_of_a_turn_share_a_record_and_bulk_is_not_cut_short) {
  EngineClient client;
  ASSERT_TRUE(client.open());
  client.wire.clear();
  client.server->stream->write(bytes_of("HTTP/1.1 200 OK\r\n"));
  client.server->stream->write(bytes_of("\r\n"));
  client.server->send(test_pattern(200'000));
  client.test_loop.run_until([&] {
    client.carry();
    return client.end->received.size() == 200'019;
  });
  std::vector<std::size_t> records = client.record_bytes();
  records.pop_back();
  for (const std::size_t bytes : records) EXPECT_EQ(bytes, 16'384U + 17);
}

TEST(Stream, every_split_of_the_room_is_taken_whole) {
  for (const std::size_t first : {1UL, 9UL, 2047UL, 16'383UL, 16'384UL, 16'385UL, 40'000UL}) {
    EngineClient client;
    ASSERT_TRUE(client.open());
    const std::size_t room = client.server->stream->room();
    const std::string bytes = test_pattern(room);
    const auto span = bytes_of(bytes);
    EXPECT_EQ(client.server->stream->write(span.first(first)), first);
    EXPECT_EQ(client.server->stream->write(span.subspan(first)), room - first);
    client.test_loop.run_until([&] {
      client.carry();
      return client.end->received.size() == room;
    });
    EXPECT_TRUE(client.end->received == bytes);
  }
}

TEST(Stream, answers_key_updates_between_its_records) {
  EngineClient client;
  // A client of the library itself: the engine never asks for a key update.
  SSL* ssl = SSL_new(client.client_context->native());
  BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl, in, out);
  SSL_set_connect_state(ssl);
  std::string received, outbox;
  const auto carry = [&] {
    char space[16'384];
    for (int bytes = 0; (bytes = SSL_read(ssl, space, sizeof space)) > 0;) {
      received.append(space, static_cast<std::size_t>(bytes));
    }
    char* data = nullptr;
    const long pending = BIO_get_mem_data(out, &data);
    outbox.append(data, static_cast<std::size_t>(pending));
    (void)BIO_reset(out);
    outbox.erase(0, client.peer->send_some(outbox));
    client.peer->take();
    const std::string bytes = std::exchange(client.peer->received, "");
    if (!bytes.empty()) BIO_write(in, bytes.data(), static_cast<int>(bytes.size()));
  };
  client.test_loop.run_until([&] {
    carry();
    return client.server->opened && SSL_is_init_finished(ssl) == 1;
  });
  client.server->send(test_pattern(kBulkBytes));
  int updates = 0;
  client.test_loop.run_until([&] {
    if (updates < 2000) {
      for (int i = 0; i < 20; ++i) {
        SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_write(ssl, "u", 1);
        ++updates;
      }
    }
    carry();
    return received.size() == kBulkBytes && client.server->received.size() == 2000;
  });
  EXPECT_TRUE(received == test_pattern(kBulkBytes));
  SSL_free(ssl);
}

}  // namespace
}  // namespace weir::io
