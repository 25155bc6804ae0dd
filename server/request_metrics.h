#pragma once
// RequestMetrics: what is counted about requests. Registered once at start, before loops run;
// handles are wait-free. Labels are closed sets: operation, status class; never a tenant or a
// repository.

#include <array>
#include <cstdint>
#include <string_view>

#include "io/metrics.h"
#include "server/request.h"

namespace weir::server {

class RequestMetrics {
 public:
  RequestMetrics();
  void count(const Request& request, io::Duration total) const;
  void count_refused_below() const { refused_below_.add(); }

 private:
  struct Operation {
    std::string_view name;
    std::array<io::Counter, 6> by_class;  // status / 100; 0: cut before an answer
    io::Histogram seconds;
  };
  static constexpr std::size_t kOperations = 11;
  const Operation& find(std::string_view name) const;

  std::array<Operation, kOperations> operations_;
  io::Counter bytes_in_;
  io::Counter bytes_out_;
  io::Counter cut_;
  io::Counter child_cpu_ms_;
  io::Counter refused_below_;
};

}  // namespace weir::server
