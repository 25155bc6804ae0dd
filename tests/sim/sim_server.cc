#include "tests/sim/sim_server.h"

#include <algorithm>
#include <charconv>

#include "io/fd_ops.h"
#include "io/signal.h"

namespace weir::sim {

void SimServer::on_exchange(http::Exchange& exchange) {
  scope_.spawn(serve(exchange));
}

io::Task<void> SimServer::serve(http::Exchange& exchange) {
  const std::string_view path = exchange.head().path;
  std::size_t number = script_.requests.size();
  if (path.starts_with('/')) std::from_chars(path.data() + 1, path.data() + path.size(), number);
  if (number >= script_.requests.size()) {
    violations_.push_back("a handler saw a request that nobody made");
    exchange.release();
    co_return;
  }
  Request& request = script_.requests[number];
  if (++request.handled > 1) violations_.push_back("handled twice: " + describe(request));
  co_await answer(exchange, request);
  request.saw_stop = exchange.stop().stopped();
  request.released = true;
  exchange.release();
}

io::Task<void> SimServer::answer(http::Exchange& exchange, Request& request) {
  const io::WriteFlow flow{request.number % 3, 1};
  http::ResponseHead head;
  head.fields.emplace_back("content-type", "application/octet-stream");
  if (request.sized) head.content_length = request.answer_bytes;
  bool whole = false;
  switch (request.kind) {
    case RequestKind::hold: {
      io::Signal never;
      const auto left = co_await never.wait(exchange.stop());
      (void)left;
      co_return;
    }
    case RequestKind::drop:
      co_return;
    case RequestKind::early:
      head.status = 403;
      exchange.start_response(std::move(head), flow);
      whole = co_await write_answer(exchange, request, request.answer_bytes);
      break;
    case RequestKind::upload:
      if (!co_await read_upload(exchange, request)) co_return;
      exchange.start_response(std::move(head), flow);
      whole = co_await write_answer(exchange, request, request.answer_bytes);
      break;
    case RequestKind::echo:
      exchange.start_response(std::move(head), flow);
      whole = co_await echo(exchange, request);
      break;
    case RequestKind::file:
      exchange.start_response(std::move(head), flow);
      whole = co_await pass_file(exchange, request);
      break;
    case RequestKind::abort:
      exchange.start_response(std::move(head), flow);
      co_await write_answer(exchange, request, request.answer_bytes / 2);
      exchange.abort();
      co_return;
    case RequestKind::lying:
      exchange.start_response(std::move(head), flow);
      whole = co_await write_answer(exchange, request, request.answer_bytes - 1);
      break;
    case RequestKind::small:
    case RequestKind::bulk:
    case RequestKind::slow:
      exchange.start_response(std::move(head), flow);
      whole = co_await write_answer(exchange, request, request.answer_bytes);
      break;
  }
  if (whole) {
    exchange.finish();
  } else {
    exchange.abort();
  }
}

// The copy is spoilt as soon as write() has returned: whoever reads it later sends wrong bytes.
io::Task<bool> SimServer::write_copy(http::Exchange& exchange,
                                     std::span<const std::uint8_t> bytes) {
  std::vector<std::uint8_t> copy(bytes.begin(), bytes.end());
  const auto written = co_await exchange.write(copy);
  std::ranges::fill(copy, std::uint8_t{'!'});
  co_return written.has_value();
}

io::Task<bool> SimServer::write_answer(http::Exchange& exchange, Request& request,
                                       std::size_t bytes) {
  std::size_t offset = 0;
  while (offset < bytes) {
    if (request.kind == RequestKind::slow) {
      const auto slept = co_await io::sleep_until(io::Deadline::after(loop_.now(), request.pause),
                                                  exchange.stop());
      if (!slept) co_return false;
    }
    const std::size_t piece = std::min(request.piece_bytes, bytes - offset);
    if (!co_await write_copy(exchange, pattern(request.number, offset, piece))) co_return false;
    offset += piece;
  }
  co_return true;
}

io::Task<bool> SimServer::read_upload(http::Exchange& exchange, Request& request) {
  std::size_t offset = 0;
  while (true) {
    const auto bytes = co_await exchange.read_body();
    if (!bytes) co_return false;
    if (bytes->empty()) break;
    if (offset + bytes->size() > request.upload_bytes ||
        !std::ranges::equal(*bytes, pattern(request.number, offset, bytes->size()))) {
      violations_.push_back("wrong body bytes: " + describe(request));
      co_return false;
    }
    offset += bytes->size();
  }
  if (offset != request.upload_bytes) {
    violations_.push_back("a cut upload looks complete: " + describe(request));
    co_return false;
  }
  co_return true;
}

io::Task<bool> SimServer::echo(http::Exchange& exchange, Request& request) {
  std::size_t offset = 0;
  while (true) {
    const auto bytes = co_await exchange.read_body();
    if (!bytes) co_return false;
    if (bytes->empty()) break;
    offset += bytes->size();
    if (!co_await write_copy(exchange, *bytes)) co_return false;
  }
  if (offset != request.upload_bytes) {
    violations_.push_back("a cut upload looks complete: " + describe(request));
  }
  co_return true;
}

io::Task<bool> SimServer::pass_file(http::Exchange& exchange, Request& request) {
  const auto content = pattern(request.number, 0, request.answer_bytes);
  const int fd = backend_.file(std::string(content.begin(), content.end()));
  std::vector<std::uint8_t> space(request.piece_bytes);
  std::size_t offset = 0;
  bool whole = false;
  while (true) {
    const auto bytes = co_await io::read_at(fd, space, offset, exchange.stop());
    if (!bytes) break;
    whole = *bytes == 0;
    if (whole || !co_await write_copy(exchange, std::span(space).first(*bytes))) break;
    offset += *bytes;
  }
  backend_.discard(fd);
  co_return whole;
}

}  // namespace weir::sim
