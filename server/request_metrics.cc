#include "server/request_metrics.h"

#include <fmt/core.h>

namespace weir::server {
namespace {

// "other" is last: everything that has no name of its own.
constexpr std::array<std::string_view, 11> kNames{
    "info-refs", "ls-refs",     "fetch", "clone", "fetch-shallow", "push",
    "probe",     "object-info", "dumb",  "lfs",   "other"};

constexpr std::array<std::string_view, 6> kClasses{"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

}  // namespace

RequestMetrics::RequestMetrics() {
  static_assert(kNames.size() == kOperations);
  io::Metrics& metrics = io::Metrics::instance();
  for (std::size_t i = 0; i < kOperations; ++i) {
    Operation& operation = operations_[i];
    operation.name = kNames[i];
    for (std::size_t c = 0; c < kClasses.size(); ++c) {
      operation.by_class[c] = metrics.counter(
          "weir_requests", fmt::format("operation=\"{}\",status=\"{}\"", kNames[i], kClasses[c]),
          "Requests by operation and class of status.");
    }
    operation.seconds =
        metrics.histogram("weir_request_seconds", fmt::format("operation=\"{}\"", kNames[i]),
                          "Time from a request's head to the end of its answer.");
  }
  bytes_in_ = metrics.counter("weir_request_body_bytes", "", "Request body bytes received.");
  bytes_out_ = metrics.counter("weir_response_body_bytes", "", "Response body bytes sent.");
  cut_ = metrics.counter("weir_responses_cut", "", "Answers that were aborted after their start.");
  child_cpu_ms_ = metrics.counter("weir_child_cpu_milliseconds", "",
                                  "CPU time of git processes that served requests.");
  refused_below_ = metrics.counter(
      "weir_http_refused", "", "Requests refused by the HTTP layer: malformed or over a limit.");
}

const RequestMetrics::Operation& RequestMetrics::find(std::string_view name) const {
  for (const Operation& operation : operations_) {
    if (operation.name == name) return operation;
  }
  return operations_.back();
}

void RequestMetrics::count(const Request& request, io::Duration total) const {
  const Operation& operation = find(request.operation);
  const int status_class = request.status / 100;
  operation
      .by_class[status_class >= 1 && status_class <= 5 ? static_cast<std::size_t>(status_class) : 0]
      .add();
  operation.seconds.observe(total);
  bytes_in_.add(request.exchange.body_bytes_received());
  bytes_out_.add(request.exchange.response_bytes());
  if (request.cut) cut_.add();
  if (request.child_cpu_us > 0) child_cpu_ms_.add(request.child_cpu_us / 1000);
}

}  // namespace weir::server
