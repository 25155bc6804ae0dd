#include "tests/sim/sim_clients.h"

#include "io/signal.h"

namespace weir::sim {

io::Task<void> SimClients::run(const ClientScript& script) {
  const auto slept = co_await io::sleep_until(io::Deadline::after(loop_.now(), script.start), {});
  (void)slept;
  Connected at;
  io::TaskScope disturbers;
  if (script.leaves_after) disturbers.spawn(leave_later(script, at, disturbers.token()));
  if (script.cut_after) disturbers.spawn(cut_later(script, at, disturbers.token()));
  co_await run_bursts(script, at);
  disturbers.request_stop();
  co_await disturbers.join();
  if (at.connection != nullptr && script.closes_orderly) co_await at.connection->close();
  at.connection.reset();
}

io::Task<void> SimClients::leave_later(const ClientScript& script, Connected& at,
                                       io::StopToken stop) {
  const auto slept =
      co_await io::sleep_until(io::Deadline::after(loop_.now(), *script.leaves_after), stop);
  if (!slept) co_return;
  at.left = true;
  at.connection.reset();
}

io::Task<void> SimClients::cut_later(const ClientScript& script, Connected& at,
                                     io::StopToken stop) {
  const auto slept =
      co_await io::sleep_until(io::Deadline::after(loop_.now(), *script.cut_after), stop);
  if (!slept || at.fd < 0) co_return;
  at.cut = true;
  backend_.cut(at.fd);
}

io::Task<bool> SimClients::connect(const ClientScript& script, Connected& at) {
  if (at.connection != nullptr && at.connection->usable()) co_return true;
  if (at.connection != nullptr) {
    const auto ended = std::move(at.connection);
    co_await ended->close();
  }
  if (at.left || front_.draining()) co_return false;
  http::ClientOptions options;
  options.http2_without_tls = script.http2;
  options.http2_window_bytes = script.window_bytes;
  if (script.tls) {
    options.tls = script.http2 ? tls_.http2_client.get() : tls_.http1_client.get();
    options.server_name = "localhost";
  }
  at.cut = false;
  at.http2 = script.http2;
  at.fd = backend_.connect_to(front_.listener(script.tls));
  auto connected = co_await http::connect_client_fd(
      loop_, at.fd, std::move(options), io::Deadline::after(loop_.now(), kRequestPatience));
  if (!connected) {
    const bool excused = at.cut || front_.draining();
    if (!excused) violations_.push_back("not connected: " + io::to_string(connected.error()));
    co_return false;
  }
  if (at.left) co_return false;
  at.connection = std::move(*connected);
  co_return true;
}

io::Task<void> SimClients::run_bursts(const ClientScript& script, Connected& at) {
  for (const std::vector<std::size_t>& burst : script.bursts) {
    if (script.http2) {
      const bool connected = co_await connect(script, at);
      io::TaskScope at_once;
      for (const std::size_t request : burst) {
        if (connected) at_once.spawn(asker_.ask(at, request));
        if (!connected) asker_.not_asked(request);
      }
      co_await at_once.join();
    } else {
      for (const std::size_t request : burst) {
        const bool connected = co_await connect(script, at);
        if (connected) co_await asker_.ask(at, request);
        if (!connected) asker_.not_asked(request);
      }
    }
    const auto slept =
        co_await io::sleep_until(io::Deadline::after(loop_.now(), script.between), {});
    (void)slept;
  }
}

io::Task<io::Result<http::ClientResponse>> send_and_read(Connected& at, http::ClientRequest what,
                                                         ReadingStyle style, io::Duration pause,
                                                         io::Duration patience) {
  if (at.left || at.connection == nullptr) co_return io::fail(io::Errc::closed, "left");
  const io::EventLoop& loop = io::EventLoop::current();
  if (style != ReadingStyle::collect) what.collect_bytes_max = 0;
  io::Result<http::ClientResponse> answer =
      co_await at.connection->request(std::move(what), io::Deadline::after(loop.now(), patience));
  if (!answer || style == ReadingStyle::collect) co_return answer;
  while (true) {
    const auto bytes =
        co_await answer->read_body(io::Deadline::after(loop.now(), kRequestPatience));
    if (!bytes) co_return std::unexpected(bytes.error());
    if (bytes->empty()) co_return answer;
    answer->body.append(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    if (style == ReadingStyle::give_up) co_return io::fail(io::Errc::cancelled, "gave up");
    if (style == ReadingStyle::slow) {
      const auto slept = co_await io::sleep_until(io::Deadline::after(loop.now(), pause), {});
      (void)slept;
    }
  }
}

}  // namespace weir::sim
