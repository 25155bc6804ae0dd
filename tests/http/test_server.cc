#include "tests/http/test_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>

namespace weir::http {
namespace {

// (client, server)
std::pair<int, int> tcp_pair() {
  const int listen_fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  EXPECT_EQ(::bind(listen_fd, reinterpret_cast<sockaddr*>(&address), bytes), 0);
  EXPECT_EQ(::listen(listen_fd, 1), 0);
  EXPECT_EQ(::getsockname(listen_fd, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), bytes), 0);
  const int server = ::accept4(listen_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  EXPECT_GE(server, 0);
  ::close(listen_fd);
  const int one = 1;
  ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  EXPECT_EQ(::fcntl(client, F_SETFL, O_NONBLOCK), 0);
  return {client, server};
}

}  // namespace

void ScriptedHandler::on_exchange(Exchange& exchange) {
  const auto script = scripts_.find(exchange.head().path);
  scope_.spawn(script == scripts_.end() ? say_nothing(*this, exchange)
                                        : script->second(*this, exchange));
}

HeadLimits ScriptedHandler::head_limits(std::string_view, std::string_view target) {
  return target.starts_with("/hg") ? kHeadLimitsMercurial : kHeadLimitsDefault;
}

void ScriptedHandler::on_refused(const io::StreamInfo&, int status, std::string_view reason) {
  events.push_back("refused " + std::to_string(status) + " " + std::string(reason));
}

ResponseHead text_head(int status, std::optional<std::uint64_t> content_length) {
  ResponseHead head;
  head.status = status;
  head.fields.emplace_back("content-type", "text/plain");
  head.content_length = content_length;
  return head;
}

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

const std::string& bulk() {
  static const std::string kBulk = [] {
    std::string text;
    while (text.size() < 3'000'000) text += std::to_string(text.size()) + "\n";
    return text;
  }();
  return kBulk;
}

io::Task<void> say_hello(ScriptedHandler&, Exchange& exchange) {
  constexpr std::string_view kText = "hello\n";
  exchange.start_response(text_head(200, kText.size()), {});
  const auto written = co_await exchange.write(bytes_of(kText));
  if (written) exchange.finish();
  exchange.release();
}

io::Task<void> say_nothing(ScriptedHandler&, Exchange& exchange) {
  ResponseHead head;
  head.status = 204;
  exchange.start_response(std::move(head), {});
  exchange.finish();
  exchange.release();
  co_return;
}

io::Task<void> echo(ScriptedHandler& handler, Exchange& exchange) {
  exchange.start_response(text_head(200, std::nullopt), {});
  while (true) {
    const auto bytes = co_await exchange.read_body();
    if (!bytes) {
      handler.events.push_back(std::string("body ") + io::to_string(bytes.error().code));
      exchange.abort();
      break;
    }
    if (bytes->empty()) {
      exchange.finish();
      break;
    }
    const auto written = co_await exchange.write(*bytes);
    if (!written) break;
  }
  exchange.release();
}

io::Task<void> count_body(ScriptedHandler& handler, Exchange& exchange) {
  auto drained = co_await exchange.read_body();
  while (drained && !drained->empty()) drained = co_await exchange.read_body();
  if (!drained)
    handler.events.push_back(std::string("body ") + io::to_string(drained.error().code));
  const std::string text = std::to_string(exchange.body_bytes_received()) + " bytes\n";
  exchange.start_response(text_head(drained ? 200 : 400, text.size()), {});
  const auto written = co_await exchange.write(bytes_of(text));
  if (written) exchange.finish();
  exchange.release();
}

io::Task<void> refuse_early(ScriptedHandler&, Exchange& exchange) {
  constexpr std::string_view kText = "too large\n";
  exchange.start_response(text_head(413, kText.size()), {});
  const auto written = co_await exchange.write(bytes_of(kText));
  if (written) exchange.finish();
  exchange.release();
}

io::Task<void> wait_for_go(ScriptedHandler& handler, Exchange& exchange) {
  handler.events.push_back("waiting");
  const auto gone = co_await handler.go.wait(exchange.stop());
  if (!gone) {
    handler.events.push_back("gone");
    exchange.release();
    co_return;
  }
  co_await say_hello(handler, exchange);
}

io::Task<void> abort_midway(ScriptedHandler&, Exchange& exchange) {
  exchange.start_response(text_head(200, std::nullopt), {});
  const auto written = co_await exchange.write(bytes_of("some"));
  (void)written;
  exchange.abort();
  exchange.release();
}

io::Task<void> send_bulk(ScriptedHandler&, Exchange& exchange) {
  exchange.start_response(text_head(200, bulk().size()), {});
  const auto written = co_await exchange.write(bytes_of(bulk()));
  if (written) exchange.finish();
  exchange.release();
}

io::Task<void> send_bulk_parts(ScriptedHandler&, Exchange& exchange) {
  exchange.start_response(text_head(200, std::nullopt), {});
  std::string_view left = bulk();
  // Sizes around records and write turns.
  for (std::size_t part = 1; !left.empty(); part = part * 3 + 1) {
    const std::string_view piece = left.substr(0, part);
    left.remove_prefix(piece.size());
    const auto written = co_await exchange.write(bytes_of(piece));
    if (!written) break;
  }
  if (left.empty()) exchange.finish();
  exchange.release();
}

TestServer::TestServer() : loop(0, io::test_backend(), clock) {
  EXPECT_TRUE(loop.start().has_value());
}

TestServer::~TestServer() {
  for (ServerConnection* connection : connections_) connection->abort();
  run_until([this] { return connections_.empty() && handler.running() == 0; });
}

int TestServer::connect(io::StreamOptions options) {
  const auto [client, server] = tcp_pair();
  connections_.push_back(
      new ServerConnection(loop, server, next_id_++, std::move(options), handler, *this));
  connections_.back()->start();
  return client;
}

bool TestServer::run_until(const std::function<bool()>& done) {
  const auto give_up = std::chrono::steady_clock::now() + io::kTestPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > give_up) {
      ADD_FAILURE() << "the awaited condition never came";
      return false;
    }
    // In real time, which is what the kernel waits by, wherever the clock was moved.
    loop.turn(std::chrono::steady_clock::now() + io::Duration(std::chrono::milliseconds(2)));
  }
  return true;
}

void TestServer::run_turns(int count) {
  for (int i = 0; i < count; ++i) loop.turn(io::Instant::min());
}

void TestServer::on_connection_closed(ServerConnection& connection, io::CloseReason reason) {
  std::erase(connections_, &connection);
  closed.push_back(reason);
}

bool TestClient::send(std::string_view bytes) {
  return server_.run_until([&] {
    poll();
    while (!bytes.empty() && !reset_) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) reset_ = true;
      if (sent <= 0) break;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return bytes.empty() || reset_;
  }) && bytes.empty();
}

void TestClient::poll() {
  char buffer[65536];
  while (!ended_) {
    const ssize_t bytes = ::recv(fd_, buffer, sizeof buffer, 0);
    if (bytes < 0 && errno == EAGAIN) return;
    if (bytes <= 0) ended_ = true;
    if (bytes < 0) reset_ = true;
    if (bytes > 0) received_.append(buffer, static_cast<std::size_t>(bytes));
  }
}

std::string TestClient::receive(std::size_t bytes) {
  server_.run_until([&] {
    poll();
    return received_.size() >= bytes || ended_;
  });
  std::string taken = received_.substr(0, bytes);
  received_.erase(0, taken.size());
  return taken;
}

std::string TestClient::receive_until_end() {
  return receive(std::string::npos);
}

void TestClient::expect_exchange(std::string_view request, std::string_view response) {
  EXPECT_TRUE(send(request)) << request;
  EXPECT_EQ(receive(response.size()), response);
  server_.run_turns(3);
  poll();
  EXPECT_EQ(received_, "") << "after the answer to " << request;
}

void TestClient::shutdown_write() {
  ::shutdown(fd_, SHUT_WR);
}

void TestClient::disconnect() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

}  // namespace weir::http
