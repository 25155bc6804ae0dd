#include "git/report_relay.h"

#include <algorithm>

#include "git/pkt_line.h"

namespace weir::git {

bool ReportRelay::feed(std::string_view bytes, std::string& passing) {
  if (!sideband_) return take_report(bytes);
  partial_.append(bytes);
  std::string_view rest = partial_;
  bool sound = true;
  while (sound && !rest.empty()) {
    Pkt pkt;
    const PktStatus status = read_pkt(rest, pkt);
    if (status == PktStatus::need_more) break;
    if (status == PktStatus::malformed || final_flush_) {
      sound = false;
    } else if (pkt.kind == PktKind::flush) {
      final_flush_ = true;
    } else if (pkt.kind != PktKind::data || pkt.payload.empty()) {
      sound = false;
    } else if (pkt.payload[0] == static_cast<char>(Band::data) && pkt.payload.size() > 1) {
      sound = take_report(pkt.payload.substr(1));
    } else if (pkt.payload[0] > static_cast<char>(Band::error) || pkt.payload[0] == 0) {
      sound = false;
    } else {
      passing.append(rest.substr(0, pkt.bytes));
    }
    rest.remove_prefix(status == PktStatus::complete ? pkt.bytes : 0);
  }
  partial_.erase(0, partial_.size() - rest.size());
  return sound;
}

bool ReportRelay::take_report(std::string_view bytes) {
  if (report_complete_ || report_.size() + bytes.size() > kReportBytesMax) return bytes.empty();
  report_.append(bytes);
  for (;;) {
    Pkt pkt;
    const PktStatus status = read_pkt(std::string_view(report_).substr(report_parsed_), pkt);
    if (status == PktStatus::malformed) return false;
    if (status == PktStatus::need_more) return true;
    report_parsed_ += pkt.bytes;
    if (pkt.kind == PktKind::flush) {
      report_complete_ = true;
      return report_parsed_ == report_.size();
    }
    if (pkt.kind != PktKind::data) return false;
  }
}

bool ReportRelay::accepts_any() const {
  std::string_view rest = report_;
  Pkt pkt;
  while (read_pkt(rest, pkt) == PktStatus::complete && pkt.kind == PktKind::data) {
    if (pkt.payload.starts_with("ok ")) return true;
    rest.remove_prefix(pkt.bytes);
  }
  return false;
}

std::string ReportRelay::refusals() const {
  std::string text;
  std::size_t more = 0;
  std::string_view rest = report_;
  for (Pkt pkt; read_pkt(rest, pkt) == PktStatus::complete && pkt.kind == PktKind::data;
       rest.remove_prefix(pkt.bytes)) {
    std::string_view line = pkt.payload;
    if (line.ends_with('\n')) line.remove_suffix(1);
    std::string one;
    if (line.starts_with("ng ")) {
      const std::size_t space = std::min(line.find(' ', 3), line.size());
      one.append(line.substr(3, space - 3)).append(":").append(line.substr(space));
    } else if (line.starts_with("unpack ") && line != "unpack ok") {
      one = line;
    } else {
      continue;
    }
    if (text.empty()) {
      text = one.substr(0, kRefusalsBytesMax);
    } else if (text.size() + 2 + one.size() <= kRefusalsBytesMax) {
      text.append("; ").append(one);
    } else {
      ++more;
    }
  }
  if (more > 0) text += "; " + std::to_string(more) + " more";
  return text;
}

std::string ReportRelay::framed_report() const {
  if (!sideband_) return report_;
  std::string framed;
  append_sideband(framed, Band::data, report_);
  return framed;
}

}  // namespace weir::git
