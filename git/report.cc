#include "git/report.h"

#include "git/pkt_line.h"

namespace weir::git {
namespace {

std::string harmless(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  }
  return out;
}

}  // namespace

std::string refusal_text(std::string_view text, std::string_view request_id) {
  return harmless("weir: " + std::string(text) + " (request " + std::string(request_id) + ")");
}

std::string error_answer(std::string_view text, std::string_view request_id) {
  std::string answer;
  append_pkt(answer, "ERR " + refusal_text(text, request_id));
  return answer;
}

std::string fatal_band(std::string_view text, std::string_view request_id) {
  std::string answer;
  append_sideband(answer, Band::error, refusal_text(text, request_id) + "\n");
  return answer;
}

std::string push_refusal_report(const ReceiveCommands& commands, std::string_view text,
                                std::string_view ref_reason, std::string_view request_id) {
  const std::string shown = refusal_text(text, request_id);
  std::string report;
  if (commands.report_status || commands.report_status_v2) {
    append_pkt(report, "unpack " + shown + "\n");
    for (const PushCommand& command : commands.commands) {
      const std::string_view reason = command.ref_valid ? ref_reason : "funny refname";
      append_pkt(report, harmless("ng " + command.ref + " " + std::string(reason)) + "\n");
    }
    append_flush(report);
  }
  if (!commands.sideband) return report;
  std::string answer;
  append_sideband(answer, Band::progress, shown + "\n");
  append_sideband(answer, Band::data, report);
  return answer;
}

std::string push_refusal(const ReceiveCommands& commands, std::string_view text,
                         std::string_view ref_reason, std::string_view request_id) {
  std::string answer = push_refusal_report(commands, text, ref_reason, request_id);
  if (commands.sideband) append_flush(answer);
  return answer;
}

}  // namespace weir::git
