#pragma once
// SimServer: the server side of a simulated run: handlers that do what the script says of each
// request, behind a real front. Checks what a handler may see: a body that
// is complete is the one that was sent; bytes lent to write() are not read after it returned.

#include <string>

#include "http/exchange.h"
#include "io/task_scope.h"
#include "tests/sim/script.h"
#include "tests/sim/sim_front.h"

namespace weir::sim {

class SimServer final : public http::ExchangeHandler {
 public:
  SimServer(io::EventLoop& loop, io::SimulatedBackend& backend, Script& script, io::TlsContext& tls,
            std::vector<std::string>& violations)
      : loop_(loop),
        backend_(backend),
        script_(script),
        violations_(violations),
        front_(loop, backend, tls, *this) {}

  SimFront& front() { return front_; }
  bool idle() const { return front_.idle() && scope_.running() == 0; }

 private:
  void on_exchange(http::Exchange& exchange) override;
  http::HeadLimits head_limits(std::string_view, std::string_view) override {
    return http::kHeadLimitsDefault;
  }
  void on_refused(const io::StreamInfo&, int, std::string_view) override {}

  io::Task<void> serve(http::Exchange& exchange);
  io::Task<void> answer(http::Exchange& exchange, Request& request);
  io::Task<bool> write_answer(http::Exchange& exchange, Request& request, std::size_t bytes);
  io::Task<bool> read_upload(http::Exchange& exchange, Request& request);
  io::Task<bool> echo(http::Exchange& exchange, Request& request);
  io::Task<bool> pass_file(http::Exchange& exchange, Request& request);
  io::Task<bool> write_copy(http::Exchange& exchange, std::span<const std::uint8_t> bytes);

  io::EventLoop& loop_;
  io::SimulatedBackend& backend_;
  Script& script_;
  std::vector<std::string>& violations_;
  SimFront front_;
  io::TaskScope scope_;
};

}  // namespace weir::sim
