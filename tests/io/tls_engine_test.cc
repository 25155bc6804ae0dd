#include "io/tls_engine.h"

#include <openssl/ssl.h>

#include "io/buffer_recycler.h"
#include "io/tls_tickets.h"
#include "tests/io/tls_pair.h"

namespace weir::io {
namespace {

struct Pair {
  explicit Pair(std::size_t span_bytes = 65536, int version_max = TLS1_3_VERSION,
                std::shared_ptr<TlsContext> server_with = nullptr)
      : server_context(server_with ? server_with : make_server({TestCertificates::localhost()})),
        client_context(
            make_client({"h2", "http/1.1"}, TestCertificates::localhost().certificate_path)),
        client(limited(*client_context, version_max), TlsRole::client, "localhost", span_bytes),
        server(*server_context, TlsRole::server, "", span_bytes) {}

  static TlsContext& limited(TlsContext& context, int version_max) {
    SSL_CTX_set_max_proto_version(context.native(), version_max);
    return context;
  }

  std::shared_ptr<TlsContext> server_context;
  std::shared_ptr<TlsContext> client_context;
  TlsEnd client;
  TlsEnd server;
};

std::string repeated(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 2654435761U >> 13);
  return text;
}

TEST(TlsEngine, shakes_hands_in_both_versions_and_says_what_was_agreed) {
  for (const auto& [version, name, cipher] :
       {std::tuple(TLS1_3_VERSION, "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        std::tuple(TLS1_2_VERSION, "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")}) {
    Pair pair(65536, version);
    exchange(pair.client, pair.server);
    for (const TlsEnd* end : {&pair.client, &pair.server}) {
      EXPECT_TRUE(end->engine.handshake_done()) << end->engine.error_text();
      EXPECT_EQ(end->engine.version(), name);
      EXPECT_EQ(end->engine.cipher(), cipher);
      EXPECT_EQ(end->engine.alpn(), "h2");
      EXPECT_FALSE(end->engine.resumed());
    }
    EXPECT_EQ(pair.server.engine.server_name(), "localhost");
  }
}

TEST(TlsEngine, agrees_on_the_servers_first_choice_of_protocol_or_on_none) {
  const struct {
    std::vector<std::string> offered;
    std::string wanted;
  } cases[] = {{{"http/1.1", "h2"}, "h2"}, {{"http/1.1"}, "http/1.1"}, {{}, ""}};
  auto server_context = make_server({TestCertificates::localhost()});
  for (const auto& [offered, wanted] : cases) {
    auto client_context = make_client(offered);
    TlsEnd client(*client_context, TlsRole::client);
    TlsEnd server(*server_context, TlsRole::server);
    exchange(client, server);
    EXPECT_TRUE(server.engine.handshake_done());
    EXPECT_EQ(server.engine.alpn(), wanted);
    EXPECT_EQ(client.engine.alpn(), wanted);
  }
  auto client_context = make_client({"spdy/1"});
  TlsEnd client(*client_context, TlsRole::client);
  TlsEnd server(*server_context, TlsRole::server);
  exchange(client, server);
  EXPECT_EQ(server.status, TlsStatus::failed);
  EXPECT_EQ(client.engine.error_text(), "tlsv1 alert no application protocol");
}

TEST(TlsEngine, a_client_refuses_a_wrong_name_and_an_unknown_issuer) {
  auto server_context = make_server({TestCertificates::localhost()});
  const std::string ca = TestCertificates::localhost().certificate_path;
  const TestCertificates made;
  const std::string other_ca =
      made.make("other", TestCertificates::KeyType::ecdsa, "DNS:x.test").certificate_path;
  const struct {
    std::string ca_path, name, wanted;
  } cases[] = {
      {ca, "localhost", ""},
      {ca, "127.0.0.1", ""},
      {ca, "", ""},
      {ca, "wrong.test", "certificate verify failed: hostname mismatch"},
      {ca, "127.0.0.2", "certificate verify failed: IP address mismatch"},
      {other_ca, "localhost", "certificate verify failed: self-signed certificate"},
  };
  for (const auto& [ca_path, name, wanted] : cases) {
    auto client_context = make_client({"h2"}, ca_path);
    TlsEnd client(*client_context, TlsRole::client, name);
    TlsEnd server(*server_context, TlsRole::server);
    exchange(client, server);
    EXPECT_EQ(client.engine.error_text(), wanted) << name;
    EXPECT_EQ(server.engine.handshake_done(), wanted.empty());
  }
}

TEST(TlsEngine, carries_data_both_ways_through_spans_of_any_size) {
  const std::string up = pattern(300'000);
  const std::string down = pattern(200'001);
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    for (const std::size_t span_bytes : {120UL, 1000UL, 16'421UL, 20'000UL, kOutputBufferBytes}) {
      for (const std::size_t chunk_bytes : {100UL, 16'384UL, 1UL << 20}) {
        Pair pair(span_bytes, version);
        exchange(pair.client, pair.server, chunk_bytes);
        pair.client.write(up);
        pair.server.write(down);
        exchange(pair.client, pair.server, chunk_bytes);
        EXPECT_TRUE(pair.server.received == up) << span_bytes << " " << chunk_bytes;
        EXPECT_TRUE(pair.client.received == down) << span_bytes << " " << chunk_bytes;
      }
    }
  }
}

TEST(TlsEngine, accepts_every_record_one_byte_at_a_time) {
  Pair pair;
  exchange(pair.client, pair.server, 1);
  pair.client.write("hello");
  exchange(pair.client, pair.server, 1);
  EXPECT_EQ(pair.server.received, "hello");
}

TEST(TlsEngine, fills_an_output_buffer_with_four_full_records) {
  Pair pair;
  exchange(pair.client, pair.server);
  const std::string bulk = pattern(100'000);
  std::vector<std::uint8_t> space(kOutputBufferBytes);
  TlsOutput output{space.data(), space.size(), 0};
  EXPECT_GE(TlsEngine::plaintext_room(output), 65'536U);
  EXPECT_GE(pair.server.engine.write(bytes_of(bulk).first(65'536), output), 65'536U);
  EXPECT_LE(output.used, output.capacity);
  EXPECT_GE(output.used, 65'536U + 4 * 22);
}

TEST(TlsEngine, close_notify_ends_the_stream_after_what_was_written) {
  Pair pair;
  exchange(pair.client, pair.server);
  pair.server.write("last words");
  pair.server.shutdown();
  exchange(pair.client, pair.server);
  EXPECT_EQ(pair.client.received, "last words");
  EXPECT_EQ(pair.client.status, TlsStatus::closed);
  // The other direction still works.
  pair.client.write("still here");
  exchange(pair.client, pair.server);
  EXPECT_EQ(pair.server.received, "still here");
}

TEST(TlsEngine, is_exhausted_only_while_a_read_would_find_nothing) {
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    Pair pair(65536, version);
    exchange(pair.client, pair.server);
    TlsEngine& engine = pair.server.engine;
    EXPECT_TRUE(engine.read_exhausted());
    pair.client.write("abcdef");
    const std::string record = std::exchange(pair.client.sent, "");
    pair.server.feed(record.substr(0, 10));
    EXPECT_EQ(pair.server.status, TlsStatus::want_input);
    engine.feed(bytes_of(record).subspan(10));
    EXPECT_FALSE(engine.read_exhausted());
    std::array<std::uint8_t, 3> half;
    TlsOutput none{nullptr, 0, 0};
    EXPECT_EQ(engine.read(half, none).bytes, 3U);
    EXPECT_FALSE(engine.read_exhausted());
    EXPECT_EQ(engine.read(half, none).bytes, 3U);
    EXPECT_TRUE(engine.read_exhausted());
    pair.client.shutdown();
    exchange(pair.client, pair.server);
    EXPECT_EQ(pair.server.status, TlsStatus::closed);
    EXPECT_FALSE(engine.read_exhausted());  // the end is told at each read
  }
}

TEST(TlsEngine, stashed_input_survives_the_callers_buffer) {
  Pair pair;
  exchange(pair.client, pair.server);
  pair.client.write("first ");
  std::string records = std::exchange(pair.client.sent, "");
  pair.server.engine.feed(bytes_of(records));
  pair.server.engine.stash_input();
  std::ranges::fill(records, 'x');
  pair.client.write("second");
  pair.server.feed(std::exchange(pair.client.sent, ""));
  EXPECT_EQ(pair.server.received, "first second");
  EXPECT_EQ(pair.server.engine.input_pending(), 0U);
}

// A client that keeps its session, which the engine does not do.
class ResumingClient {
 public:
  explicit ResumingClient(int version) : context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX_set_max_proto_version(context_, version);
    SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_set_app_data(context_, this);
    SSL_CTX_sess_set_new_cb(context_, [](SSL* ssl, SSL_SESSION* session) {
      auto* self = static_cast<ResumingClient*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
      SSL_SESSION_free(std::exchange(self->session_, session));
      ++self->tickets;
      return 1;
    });
  }
  ~ResumingClient() {
    SSL_SESSION_free(session_);
    SSL_CTX_free(context_);
  }
  ResumingClient(const ResumingClient&) = delete;
  ResumingClient& operator=(const ResumingClient&) = delete;

  // True if the server resumed.
  bool connect(TlsContext& server_context, const char* name) {
    TlsEnd server(server_context, TlsRole::server);
    SSL* ssl = SSL_new(context_);
    BIO* in = BIO_new(BIO_s_mem());
    BIO* out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_tlsext_host_name(ssl, name);
    if (session_ != nullptr) SSL_set_session(ssl, session_);
    SSL_set_connect_state(ssl);
    char byte;
    for (int round = 0; round < 6; ++round) {
      SSL_read(ssl, &byte, 1);
      char* data = nullptr;
      const long bytes = BIO_get_mem_data(out, &data);
      server.feed({data, static_cast<std::size_t>(bytes)});
      (void)BIO_reset(out);
      const std::string answer = std::exchange(server.sent, "");
      BIO_write(in, answer.data(), static_cast<int>(answer.size()));
    }
    EXPECT_TRUE(server.engine.handshake_done()) << server.engine.error_text();
    const bool resumed = server.engine.resumed();
    EXPECT_EQ(resumed, SSL_session_reused(ssl) == 1);
    SSL_set_shutdown(ssl,
                     SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);  // else it forgets the session
    SSL_free(ssl);
    return resumed;
  }
  int tickets = 0;

 private:
  SSL_CTX* context_;
  SSL_SESSION* session_ = nullptr;
};

TEST(TlsEngine, resumes_a_session_of_another_context_with_the_same_ticket_keys) {
  constexpr std::int64_t kNow = 1'700'000'000'000'000'000;
  const TestCertificates made;
  const CertificateFiles other =
      made.make("other", TestCertificates::KeyType::ecdsa, "DNS:other.test");
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    auto keys = TicketKeys::create(kNow).value();
    auto first = make_server({TestCertificates::localhost(), other}, keys);
    auto second = make_server({TestCertificates::localhost(), other}, keys);
    auto stranger = make_server({TestCertificates::localhost()}, TicketKeys::create(kNow).value());
    ResumingClient client(version);
    EXPECT_FALSE(client.connect(*first, "other.test"));
    EXPECT_EQ(client.tickets, 1);
    EXPECT_TRUE(client.connect(*second, "other.test"));
    keys->rotate_if_due(kNow + kTicketRotation.count());
    EXPECT_TRUE(client.connect(*first, "other.test"));
    if (version == TLS1_3_VERSION) {
      EXPECT_EQ(client.tickets, 3) << "each use brings the next";
    }
    EXPECT_FALSE(client.connect(*stranger, "localhost"));
  }
}

TEST(TlsEngine, without_ticket_keys_there_is_no_resumption) {
  auto context = make_server({TestCertificates::localhost()});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    ResumingClient client(version);
    EXPECT_FALSE(client.connect(*context, "localhost"));
    EXPECT_FALSE(client.connect(*context, "localhost"));
    EXPECT_EQ(client.tickets, 0);
  }
}

TEST(TlsEngine, garbage_before_the_handshake_is_a_failure_with_a_reason) {
  using std::string_literals::operator""s;
  const std::string table[] = {
      "GET / HTTP/1.1\r\n\r\n",
      repeated("\x16\x03\x01\x00\x00"s, 40),            // OpenSSL bears 32 empty records in a row
      "\x16\x03\x01\xff\xff"s + std::string(100, 'x'),  // oversized record
      "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"s + "\x16\x03\x01\x00\x01\x00"s,  // short hello
      "\x16\x03\x01\x00\x04\x02\x00\x00\x00"s,                                    // a ServerHello
      "\x17\x03\x03\x00\x05hello"s,                     // application data
      "\x15\x03\x01\x00\x02\x02\x28"s,                  // fatal alert
      "\x14\x03\x01\x00\x01\x01"s,                      // change cipher spec
      "\x80\x2e\x01\x00\x02"s + std::string(60, '\0'),  // SSLv2 hello
      "\x16\x02\x00\x00\x10"s + std::string(16, '\x01'),
      std::string(200, '\0'),
      std::string(200, '\xff'),
      "SSH-2.0-OpenSSH_9.2p1\r\n",
  };
  auto context = make_server({TestCertificates::localhost()});
  for (const std::string& bytes : table) {
    TlsEnd server(*context, TlsRole::server);
    server.feed(bytes);
    EXPECT_EQ(server.status, TlsStatus::failed) << testing::PrintToString(bytes);
    EXPECT_FALSE(server.engine.error_text().empty());
    EXPECT_FALSE(server.engine.handshake_done());
    server.write("x");
    server.shutdown();
    EXPECT_EQ(server.engine.read({}, *std::make_unique<TlsOutput>()).bytes, 0U);
  }
}

TEST(TlsEngine, every_truncation_of_a_client_hello_waits_for_more) {
  Pair pair;
  pair.client.step();
  const std::string hello = std::exchange(pair.client.sent, "");
  for (std::size_t bytes = 0; bytes < hello.size(); ++bytes) {
    TlsEnd server(*pair.server_context, TlsRole::server);
    server.feed(std::string_view(hello).substr(0, bytes));
    EXPECT_EQ(server.status, TlsStatus::want_input) << bytes;
    EXPECT_TRUE(server.sent.empty());
  }
}

TEST(TlsEngine, a_changed_byte_anywhere_in_a_record_fails_and_sends_an_alert) {
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    for (std::size_t at = 5; at < 40; ++at) {
      Pair pair(65536, version);
      exchange(pair.client, pair.server);
      pair.client.write("a secret of some length");
      std::string record = std::exchange(pair.client.sent, "");
      if (at >= record.size()) break;
      record[at] = static_cast<char>(record[at] ^ 1);
      pair.server.feed(record);
      EXPECT_EQ(pair.server.status, TlsStatus::failed) << at;
      EXPECT_FALSE(pair.server.sent.empty());
      EXPECT_EQ(pair.server.received, "");
    }
  }
}

TEST(TlsEngine, an_idle_engine_is_reached_after_its_context_was_dropped) {
  Pair pair;
  pair.server_context.reset();
  pair.client_context.reset();
  exchange(pair.client, pair.server);
  pair.client.write("x");
  exchange(pair.client, pair.server);
  EXPECT_EQ(pair.server.received, "x");
}

}  // namespace
}  // namespace weir::io
