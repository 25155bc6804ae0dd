// The client against the project's own server side: HTTP/1.1 and HTTP/2, plain and over TLS.
#include "http/client_connection.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/http/path_server.h"
#include "tests/io/test_certificates.h"
#include "tests/io/test_loop.h"

namespace weir::http {
namespace {

using namespace std::chrono_literals;

struct Wire {
  bool tls;
  bool http2;
};

class ClientConnectionTest : public testing::TestWithParam<Wire> {
 protected:
  void SetUp() override {
    if (!GetParam().tls) return;
    io::TlsServerConfig server_config;
    server_config.certificates.push_back(
        certificates_.make("weir", io::TestCertificates::KeyType::ecdsa, "DNS:weir.test"));
    io::TlsClientConfig client_config;
    client_config.ca_path = server_config.certificates[0].certificate_path;
    client_config.alpn = {GetParam().http2 ? "h2" : "http/1.1"};
    std::string problem;
    server_tls_ = *io::TlsContext::create_server(server_config, problem);
    client_tls_ = *io::TlsContext::create_client(client_config, problem);
    ASSERT_EQ(problem, "");
  }
  void TearDown() override {
    connection_.reset();
    server_.abort_all();
    test_.run_until([&] { return server_.idle(); });
    test_.run_turns(20);
  }
  ClientOptions options() const {
    ClientOptions options;
    options.tls = client_tls_.get();
    options.server_name = GetParam().tls ? "weir.test" : "";
    options.http2_without_tls = GetParam().http2;
    return options;
  }
  ClientConnection& connect(ClientOptions with) {
    const auto fds = io::socket_pair();
    io::StreamOptions server_options;
    server_options.tls = server_tls_.get();
    server_.accept(test_.loop, fds[0], server_options);
    auto connected = test_.run(connect_client_fd(test_.loop, fds[1], std::move(with)));
    EXPECT_TRUE(connected.has_value());
    connection_ = std::move(*connected);
    return *connection_;
  }
  ClientConnection& connect() { return connect(options()); }
  io::Result<ClientResponse> ask(ClientConnection& connection, std::string path,
                                 std::string_view body = {}) {
    ClientRequest request;
    request.method = body.empty() ? "GET" : "POST";
    request.path = std::move(path);
    request.body = {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()};
    return test_.run(connection.request(std::move(request)));
  }
  io::Deadline within(io::Duration time) { return io::Deadline::after(test_.loop.now(), time); }

  io::TestLoop test_;
  io::TestCertificates certificates_;
  std::shared_ptr<io::TlsContext> server_tls_, client_tls_;
  PathServer server_;
  std::unique_ptr<ClientConnection> connection_;
};

INSTANTIATE_TEST_SUITE_P(Wires, ClientConnectionTest,
                         testing::Values(Wire{false, false}, Wire{false, true}, Wire{true, false},
                                         Wire{true, true}),
                         [](const auto& each) {
                           return std::string(each.param.http2 ? "http2" : "http1") +
                                  (each.param.tls ? "_tls" : "_plain");
                         });

TEST_P(ClientConnectionTest, gets_answers_one_after_the_other_on_one_connection) {
  ClientConnection& connection = connect();
  EXPECT_EQ(connection.version(), GetParam().http2 ? Version::http2 : Version::http11);
  for (int i = 0; i < 20; ++i) {
    const auto response = ask(connection, "/hello");
    ASSERT_TRUE(response) << to_string(response.error());
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->body, "hello");
    EXPECT_EQ(response->header("Content-Type"), "text/plain");
    EXPECT_TRUE(connection.usable());
  }
  EXPECT_EQ(server_.exchanges, 20U);
}

TEST_P(ClientConnectionTest, carries_8_mib_both_ways) {
  const std::string body(8 << 20, 'w');
  const auto response = ask(connect(), "/echo", body);
  ASSERT_TRUE(response) << to_string(response.error());
  EXPECT_TRUE(response->body == body);
}

TEST_P(ClientConnectionTest, sends_bodies_without_a_length) {
  ClientConnection& connection = connect();
  const std::string body(100'000, 'c');
  ClientRequest request;
  request.method = "POST";
  request.path = "/echo";
  request.chunked = true;
  request.body = {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()};
  const auto response = test_.run(connection.request(std::move(request)));
  ASSERT_TRUE(response) << to_string(response.error());
  EXPECT_TRUE(response->body == body);
}

TEST_P(ClientConnectionTest, streams_a_body_as_fast_as_it_is_read) {
  server_.bulk_bytes = 96 << 20;
  ClientOptions narrow = options();
  narrow.http2_window_bytes = 1 << 20;
  ClientConnection& connection = connect(narrow);
  ClientRequest request;
  request.path = "/bulk";
  request.collect_bytes_max = 0;
  auto response = test_.run(connection.request(std::move(request)));
  ASSERT_TRUE(response) << to_string(response.error());
  test_.run_turns(300);
  EXPECT_LT(server_.bulk_taken, 16U << 20);
  std::uint64_t received = 0;
  while (true) {
    const auto bytes = test_.run(response->read_body());
    ASSERT_TRUE(bytes) << to_string(bytes.error());
    if (bytes->empty()) break;
    received += bytes->size();
  }
  EXPECT_EQ(received, server_.bulk_bytes);
}

TEST_P(ClientConnectionTest, bounds_what_it_collects) {
  ClientConnection& connection = connect();
  ClientRequest request;
  request.path = "/bulk";
  request.collect_bytes_max = 1000;
  const auto response = test_.run(connection.request(std::move(request)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, io::Errc::limit);
}

TEST_P(ClientConnectionTest, tells_a_cut_answer_from_a_complete_one) {
  for (const char* path : {"/abort", "/short", "/drop"}) {
    const auto response = ask(connect(), path);
    ASSERT_FALSE(response) << path;
    EXPECT_EQ(response.error().code, io::Errc::closed) << path;
  }
}

TEST_P(ClientConnectionTest, gives_up_at_its_deadline) {
  ClientConnection& connection = connect();
  ClientRequest request;
  request.path = "/hold";
  const auto response = test_.run(connection.request(std::move(request), within(30ms)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, io::Errc::deadline_exceeded);
  server_.open_gate();
  // HTTP/2 loses the stream only.
  EXPECT_EQ(ask(connection, "/hello").has_value(), GetParam().http2);
}

TEST_P(ClientConnectionTest, reads_an_early_refusal_of_its_upload) {
  const std::string body(4 << 20, 'w');
  const auto response = ask(connect(), "/early", body);
  ASSERT_TRUE(response) << to_string(response.error());
  EXPECT_EQ(response->status, 403);
  EXPECT_EQ(response->body, "no");
}

TEST_P(ClientConnectionTest, closes_in_order) {
  ClientConnection& connection = connect();
  ASSERT_TRUE(ask(connection, "/quiet"));
  test_.run(connection.close());
  EXPECT_FALSE(connection.usable());
  const auto response = ask(connection, "/hello");
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, io::Errc::closed);
  test_.run_until([&] { return server_.idle(); });
}

TEST_P(ClientConnectionTest, can_be_dropped_with_an_answer_under_way) {
  server_.bulk_bytes = 64 << 20;
  ClientConnection& connection = connect();
  ClientRequest request;
  request.path = "/bulk";
  request.collect_bytes_max = 0;
  auto response = test_.run(connection.request(std::move(request)));
  ASSERT_TRUE(response);
  connection_.reset();
  test_.run_until([&] { return server_.idle(); });
  io::Result<std::span<const std::uint8_t>> bytes;
  do {
    bytes = test_.run(response->read_body());
  } while (bytes && !bytes->empty());
  EXPECT_FALSE(bytes);
}

TEST_P(ClientConnectionTest, connects_over_tcp) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  io::TaskScope scope;
  io::Result<std::unique_ptr<ClientConnection>> connected = io::fail(io::Errc::closed, "");
  const auto dial = [](io::EventLoop& loop, std::string where, ClientOptions with,
                       io::Result<std::unique_ptr<ClientConnection>>& out) -> io::Task<void> {
    out = co_await connect_client(loop, std::move(where), std::move(with));
  };
  scope.spawn(dial(test_.loop, "127.0.0.1:" + std::to_string(ntohs(address.sin_port)), options(),
                   connected));
  int accepted = -1;
  test_.run_until([&] {
    accepted = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return accepted >= 0;
  });
  ::close(listener);
  ASSERT_GE(accepted, 0);
  io::StreamOptions server_options;
  server_options.tls = server_tls_.get();
  server_.accept(test_.loop, accepted, server_options);
  test_.run_until([&] { return scope.running() == 0; });
  ASSERT_TRUE(connected) << to_string(connected.error());
  connection_ = std::move(*connected);
  const auto response = ask(*connection_, "/hello");
  ASSERT_TRUE(response) << to_string(response.error());
  EXPECT_EQ(response->body, "hello");
}

TEST(ClientConnection, runs_many_calls_at_once_over_http2) {
  io::TestLoop test;
  PathServer server;
  const auto fds = io::socket_pair();
  server.accept(test.loop, fds[0]);
  ClientOptions options;
  options.http2_without_tls = true;
  auto connection = test.run(connect_client_fd(test.loop, fds[1], options));
  ASSERT_TRUE(connection);
  int right = 0;
  io::TaskScope scope;
  const auto one = [](ClientConnection& to, int& count) -> io::Task<void> {
    ClientRequest request;
    request.path = "/bulk";
    const auto response = co_await to.request(std::move(request));
    if (response && response->body.size() == (1U << 20)) ++count;
  };
  for (int i = 0; i < 50; ++i) scope.spawn(one(**connection, right));
  test.run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(right, 50);
  connection->reset();
  test.run_until([&] { return server.idle(); });
}

TEST(ClientConnection, says_what_is_wrong_with_an_address) {
  io::TestLoop test;
  for (const char* address : {"", "127.0.0.1", "localhost:80", "127.0.0.1:", "127.0.0.1:x",
                              "127.0.0.1:70000", "[::1:80", "unix:"}) {
    const auto connected = test.run(connect_client(test.loop, address, {}));
    ASSERT_FALSE(connected) << address;
    EXPECT_EQ(connected.error().code, io::Errc::invalid) << address;
  }
  const auto refused = test.run(connect_client(test.loop, "unix:/nowhere/at/all", {}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, io::Errc::system);
}

}  // namespace
}  // namespace weir::http
