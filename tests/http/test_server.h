#pragma once
// What the tests of both HTTP versions stand on: a loop whose clock can be moved, a handler whose
// answers are coroutines chosen by path, a server that makes connections over loopback TCP, and a
// plain client. Everything runs on the test's thread; a wait that never ends fails the test.

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "http/exchange.h"
#include "http/server_connection.h"
#include "io/task_scope.h"
#include "tests/io/test_loop.h"

namespace weir::http {

// Real time, moved forward at will; the date never changes.
class MovableClock final : public io::Clock {
 public:
  io::Instant now() const override { return std::chrono::steady_clock::now() + moved_; }
  std::int64_t unix_ns() const override { return 784'111'777'000'000'000; }
  void advance(io::Duration by) { moved_ += by; }

 private:
  io::Duration moved_{};
};
inline constexpr std::string_view kTestDate = "Sun, 06 Nov 1994 08:49:37 GMT";

class ScriptedHandler final : public ExchangeHandler {
 public:
  // Ends with exchange.release().
  using Script = io::Task<void> (*)(ScriptedHandler& handler, Exchange& exchange);

  void at(std::string path, Script script) { scripts_[std::move(path)] = script; }
  std::int64_t running() const { return scope_.running(); }

  void on_exchange(Exchange& exchange) override;
  HeadLimits head_limits(std::string_view method, std::string_view target) override;
  void on_refused(const io::StreamInfo& peer, int status, std::string_view reason) override;

  // What happened, for the tests to look at.
  std::vector<std::string> events;
  io::Signal go;  // scripts that wait for the test wait for this

 private:
  std::map<std::string, Script, std::less<>> scripts_;
  io::TaskScope scope_;
};

// Scripts that several tests use.
ResponseHead text_head(int status, std::optional<std::uint64_t> content_length);
std::span<const std::uint8_t> bytes_of(std::string_view text);
io::Task<void> say_hello(ScriptedHandler& handler, Exchange& exchange);    // 200, "hello\n"
io::Task<void> say_nothing(ScriptedHandler& handler, Exchange& exchange);  // 204
io::Task<void> echo(ScriptedHandler& handler,
                    Exchange& exchange);  // body back, no length; event on error
io::Task<void> count_body(ScriptedHandler& handler, Exchange& exchange);    // "N bytes\n"
io::Task<void> refuse_early(ScriptedHandler& handler, Exchange& exchange);  // 413, body unread
io::Task<void> wait_for_go(ScriptedHandler& handler, Exchange& exchange);   // or event "gone"
io::Task<void> abort_midway(ScriptedHandler& handler, Exchange& exchange);
io::Task<void> send_bulk(ScriptedHandler& handler, Exchange& exchange);        // kBulk, by length
io::Task<void> send_bulk_parts(ScriptedHandler& handler, Exchange& exchange);  // kBulk, no length
const std::string& bulk();

class TestServer final : public ConnectionRegistry {
 public:
  TestServer();
  ~TestServer();

  // A new connection; returns the client's descriptor (non-blocking, the caller's).
  int connect(io::StreamOptions options = {});
  // Turns the loop until `done()`.
  bool run_until(const std::function<bool()>& done);
  void run_turns(int count);
  void advance(io::Duration by) { clock.advance(by); }
  void on_connection_closed(ServerConnection& connection, io::CloseReason reason) override;
  ServerConnection& last() { return *connections_.back(); }
  std::size_t open() const { return connections_.size(); }

  MovableClock clock;
  io::EventLoop loop;
  ScriptedHandler handler;
  std::vector<io::CloseReason> closed;

 private:
  std::vector<ServerConnection*> connections_;
  std::uint64_t next_id_ = 1;
};

// A client that speaks bytes.
class TestClient {
 public:
  explicit TestClient(TestServer& server) : server_(server), fd_(server.connect()) {}
  ~TestClient() { disconnect(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  // Sends all of it, turning the loop as needed; false if the server closed or reset.
  bool send(std::string_view bytes);
  // Turns until `bytes` more were received, and takes them; fewer when the server ends.
  std::string receive(std::size_t bytes);
  std::string receive_until_end();
  // Sends `request` and expects exactly `response`.
  void expect_exchange(std::string_view request, std::string_view response);
  void shutdown_write();
  void disconnect();
  bool ended() const { return ended_; }
  bool reset() const { return reset_; }

 private:
  void poll();
  TestServer& server_;
  int fd_;
  std::string received_;
  bool ended_ = false;
  bool reset_ = false;
};

}  // namespace weir::http
