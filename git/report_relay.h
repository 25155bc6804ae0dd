#pragma once
// ReportRelay: takes apart what `git receive-pack` writes: progress, hook output and keepalives may
// pass at once, the report (what acknowledges the push) is kept until the caller releases it, and
// the last flush until the child has exited. Sans-IO; one push, one thread. Bounded:
// kReportBytesMax of report; what may pass is handed over after each feed. Format:
// gitprotocol-pack(5) "Report Status".

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::git {

// 100,000 refs with long names and reasons; beyond it the child is taken for broken.
inline constexpr std::size_t kReportBytesMax = 32UL * 1024 * 1024;

inline constexpr std::size_t kRefusalsBytesMax = 400;

class ReportRelay {
 public:
  // `sideband`: what the client asked for. Without it all output is the report.
  explicit ReportRelay(bool sideband) : sideband_(sideband) {}

  // Appends what may pass at once to `passing`. False: not what receive-pack writes.
  bool feed(std::string_view bytes, std::string& passing);
  // The whole report has arrived, its flush included.
  bool report_complete() const { return report_complete_; }
  // True if a ref was changed according to the report: it must be durable before it is released.
  bool accepts_any() const;
  // What the report refuses, for the log: "refs/heads/x: hook declined; ...". As git wrote it:
  // bytes that a pusher or a hook chose, to be escaped; at most kRefusalsBytesMax and how many
  // more.
  std::string refusals() const;
  // The report as the client is to get it (sideband packets or plain).
  std::string framed_report() const;
  // The outer flush that ends a sideband answer has arrived.
  bool saw_final_flush() const { return final_flush_; }

 private:
  bool take_report(std::string_view bytes);

  const bool sideband_;
  std::string partial_;  // an incomplete packet: at most 65,520 bytes
  std::string report_;   // band-1 payload: packets of the report
  std::size_t report_parsed_ = 0;
  bool report_complete_ = false;
  bool final_flush_ = false;
};

}  // namespace weir::git
