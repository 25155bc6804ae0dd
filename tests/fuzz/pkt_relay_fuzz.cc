#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "git/pkt_line.h"
#include "git/pkt_relay.h"
#include "git/report_relay.h"

namespace {

namespace git = weir::git;

// What a child writes, in pieces: the relay never holds more than it was given, and what has been
// sent plus what is held is what was read.
void check_relay(git::RelayKind kind, std::string_view output, std::size_t piece) {
  git::PktRelay relay(kind);
  std::size_t held = 0;
  for (std::size_t at = 0; at < output.size(); at += piece) {
    const std::string_view part = output.substr(at, piece);
    if (!relay.follow(part)) return;
    if (relay.held_bytes() > held + part.size() || relay.held_bytes() > 4) std::abort();
    held = relay.held_bytes();
    if (relay.keepalive_allowed() && kind == git::RelayKind::v0_plain) std::abort();
  }
}

// A boundary by the relay's word is one by pkt-line's.
void check_boundary(std::string_view output) {
  git::PktRelay relay(git::RelayKind::v2);
  if (!relay.follow(output)) return;
  std::string_view rest = output;
  git::Pkt pkt;
  while (git::read_pkt(rest, pkt) == git::PktStatus::complete) rest.remove_prefix(pkt.bytes);
  if (relay.complete() != rest.empty()) std::abort();
  if (relay.at_boundary() != (rest.size() < 4)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t piece = data[0] % 32 + 1;
  const auto kind = static_cast<git::RelayKind>(data[1] % 3);
  const std::string_view output(reinterpret_cast<const char*>(data) + 2, size - 2);
  check_relay(kind, output, piece);
  check_boundary(output);

  git::ReportRelay report(data[1] % 2 == 0);
  std::string passing;
  for (std::size_t at = 0; at < output.size(); at += piece) {
    if (!report.feed(output.substr(at, piece), passing)) break;
  }
  if (passing.size() > output.size()) std::abort();
  (void)report.accepts_any();
  (void)report.framed_report();
  return 0;
}
