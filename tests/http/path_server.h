#pragma once
// PathServer: an ExchangeHandler whose answers depend on the path, and the registry of its
// connections. For tests of sessions and clients; on the test's own loop.
//   /hello  5 bytes with a length        /echo   the request body        /bulk  bulk_bytes
//   /hold   waits for open_gate()        /abort  some bytes, then abort   /short  less than
//   promised /early  answers without reading      /quiet  204                      /stop   until
//   the client left /limits allows the Mercurial limits  /drop   releases without an answer

#include <algorithm>
#include <string>
#include <vector>

#include "http/exchange.h"
#include "http/server_connection.h"
#include "io/task_scope.h"

namespace weir::http {

class PathServer final : public ExchangeHandler, public ConnectionRegistry {
 public:
  ~PathServer() { WEIR_CHECK(connections_.empty() && scope.running() == 0); }

  ServerConnection& accept(io::EventLoop& loop, int fd, io::StreamOptions options = {}) {
    auto* connection = new ServerConnection(loop, fd, ++last_id_, std::move(options), *this, *this);
    connections_.push_back(*connection);
    connection->start();
    return *connection;
  }
  void abort_all() {
    open_gate();
    for (ServerConnection* each = connections_.first(); each != nullptr;) {
      ServerConnection& connection = *each;
      each = connections_.next(connection);
      connection.abort();
    }
  }
  bool idle() const { return connections_.empty() && scope.running() == 0; }
  void open_gate() {
    gate_open_ = true;
    for (io::Signal* waiter : gate_waiters_) waiter->notify();
    gate_waiters_.clear();
  }

  std::uint64_t bulk_bytes = 1 << 20;
  std::uint64_t bulk_taken = 0;      // by all /bulk answers
  std::vector<std::uint64_t> flows;  // nonempty: answers take these in turn
  std::size_t exchanges = 0;
  int stopped = 0;                    // handlers that saw the client leave
  std::vector<std::string> refusals;  // "status reason"
  std::vector<io::Errc> body_errors;
  std::vector<io::CloseReason> closes;
  io::TaskScope scope;

 private:
  void on_exchange(Exchange& exchange) override {
    ++exchanges;
    scope.spawn(serve(exchange));
  }
  HeadLimits head_limits(std::string_view, std::string_view target) override {
    return target == "/limits" ? kHeadLimitsMercurial : kHeadLimitsDefault;
  }
  void on_refused(const io::StreamInfo&, int status, std::string_view reason) override {
    refusals.push_back(std::to_string(status) + " " + std::string(reason));
  }
  void on_connection_closed(ServerConnection&, io::CloseReason reason) override {
    closes.push_back(reason);
  }

  static std::span<const std::uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  }

  io::Task<void> answer(Exchange& exchange, ResponseHead& head, std::string_view text) {
    const io::WriteFlow flow{flows.empty() ? 0 : flows[exchanges % flows.size()], 1};
    exchange.start_response(std::move(head), flow);
    const auto written = co_await exchange.write(bytes_of(text));
    (void)written;
  }
  io::Task<void> echo(Exchange& exchange) {
    exchange.start_response({}, {});
    while (true) {
      const auto body = co_await exchange.read_body();
      if (!body) {
        body_errors.push_back(body.error().code);
        co_return exchange.abort();
      }
      if (body->empty()) co_return exchange.finish();
      const auto written = co_await exchange.write(*body);
      if (!written) co_return;
    }
  }
  io::Task<void> bulk(Exchange& exchange) {
    const std::string chunk(256 * 1024, 'b');
    const io::WriteFlow flow{flows.empty() ? 0 : flows[exchanges % flows.size()], 1};
    exchange.start_response({}, flow);
    for (std::uint64_t left = bulk_bytes; left > 0;) {
      const std::size_t bytes = std::min<std::uint64_t>(left, chunk.size());
      const auto written = co_await exchange.write(bytes_of(chunk).first(bytes));
      if (!written) co_return;
      left -= bytes;
      bulk_taken += bytes;
    }
    exchange.finish();
  }
  io::Task<void> hold(Exchange& exchange) {
    io::Signal opened;
    if (!gate_open_) {
      gate_waiters_.push_back(&opened);
      const auto waited = co_await opened.wait();
      (void)waited;
    }
    if (exchange.stop().stopped()) ++stopped;
  }

  io::Task<void> serve(Exchange& exchange) {
    const std::string path(exchange.head().path);
    ResponseHead head;
    head.fields.emplace_back("content-type", "text/plain");
    if (path == "/hello") {
      head.content_length = 5;
      co_await answer(exchange, head, "hello");
      exchange.finish();
    } else if (path == "/echo") {
      co_await echo(exchange);
    } else if (path == "/bulk") {
      co_await bulk(exchange);
    } else if (path == "/hold") {
      co_await hold(exchange);
      co_await answer(exchange, head, "held");
      exchange.finish();
    } else if (path == "/abort") {
      co_await answer(exchange, head, "half of it");
      exchange.abort();
    } else if (path == "/short") {
      head.content_length = 100;
      co_await answer(exchange, head, "too little");
      exchange.finish();
    } else if (path == "/early") {
      head.status = 403;
      head.content_length = 2;
      co_await answer(exchange, head, "no");
      exchange.finish();
    } else if (path == "/stop") {
      io::Signal never;
      const auto waited = co_await never.wait(exchange.stop());
      if (!waited) ++stopped;
    } else if (path != "/drop") {
      head.status = path == "/limits" ? 200 : path == "/quiet" ? 204 : 404;
      if (path != "/quiet") head.content_length = 0;
      exchange.start_response(std::move(head), {});
      exchange.finish();
    }
    exchange.release();
  }

  io::IntrusiveList<ServerConnection> connections_;
  std::uint64_t last_id_ = 0;
  bool gate_open_ = false;
  std::vector<io::Signal*> gate_waiters_;
};

}  // namespace weir::http
