#include "server/request_log.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <ctime>

#include "io/log.h"

namespace weir::server {
namespace {

constexpr std::size_t kUserAgentBytesMax = 200;
constexpr std::size_t kPathBytesMax = 512;
constexpr std::string_view kMark = "weir_";  // begins every token

bool is_token_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::int64_t microseconds(io::Duration value) {
  return std::chrono::duration_cast<std::chrono::microseconds>(value).count();
}

// False for nearly all text, which then needs no copy.
bool may_hold_token(std::string_view text) {
  return text.find(kMark) != text.npos || text.find('%') != text.npos;
}

// `key`: all that stands before the value, its opening quote included.
void append_field(std::string& out, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  out += key;
  io::append_json_escaped(out, value);
  out += '"';
}

void append_masked(std::string& out, std::string_view key, std::string_view value) {
  if (may_hold_token(value)) return append_field(out, key, mask_tokens(value));
  append_field(out, key, value);
}

void append_number(std::string& out, std::string_view key, std::int64_t value) {
  std::array<char, 20> text;
  out += key;
  out += std::string_view(text.begin(), std::to_chars(text.begin(), text.end(), value).ptr);
}

// "2026-01-31T12:00:00.123Z"; the part that changes once a second is made once a second.
void append_utc_time(std::string& out, std::int64_t unix_ns) {
  thread_local std::time_t made_for = -1;
  thread_local std::string second;
  const std::time_t seconds = unix_ns / 1'000'000'000;
  if (seconds != made_for) {
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    second =
        fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.", parts.tm_year + 1900, parts.tm_mon + 1,
                    parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
    made_for = seconds;
  }
  const auto ms = static_cast<unsigned>(unix_ns / 1'000'000 % 1000);
  out += second;
  out += static_cast<char>('0' + ms / 100);
  out += static_cast<char>('0' + ms / 10 % 10);
  out += static_cast<char>('0' + ms % 10);
  out += 'Z';
}

std::string_view version_text(http::Version version) {
  switch (version) {
    case http::Version::http10:
      return "1.0";
    case http::Version::http11:
      return "1.1";
    case http::Version::http2:
      return "2";
  }
  return "";
}

std::string mask_plain(std::string_view text) {
  std::string out;
  while (true) {
    const std::size_t at = text.find(kMark);
    if (at == text.npos) break;
    std::size_t end = at + kMark.size();
    while (end < text.size() && is_token_character(text[end])) ++end;
    out += text.substr(0, end);
    if (end < text.size() && text[end] == '_') {
      while (end < text.size() && (is_token_character(text[end]) || text[end] == '_')) ++end;
      out += "_***";
    }
    text.remove_prefix(end);
  }
  out += text;
  return out;
}

// Without any escape, however often it was escaped. An escape is complete when its last digit
// comes, and what it stands for may complete another: one pass, whatever a client nests.
std::string fully_decoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c;
    while (out.size() >= 3 && out[out.size() - 3] == '%') {
      unsigned value = 0;
      const char* const end = out.data() + out.size();
      if (std::from_chars(end - 2, end, value, 16).ptr != end) break;
      out.resize(out.size() - 3);
      out += static_cast<char>(value);
    }
  }
  return out;
}

}  // namespace

std::string mask_tokens(std::string_view text) {
  if (!may_hold_token(text)) return std::string(text);
  std::string masked = mask_plain(text);
  if (text.find('%') == text.npos) return masked;
  // What a client escaped is a secret all the same. It is shown as sent unless a token comes out.
  const std::string decoded = fully_decoded(text);
  std::string masked_decoded = mask_plain(decoded);
  return masked_decoded == decoded ? masked : masked_decoded;
}

std::string render_request_record(const Request& request, int loop, io::Instant now,
                                  std::int64_t unix_ns) {
  const http::Exchange& exchange = request.exchange;
  const http::RequestHead& head = exchange.head();
  std::string out;
  out.reserve(768);
  out += "{\"time\":\"";
  append_utc_time(out, unix_ns);
  out += "\",\"record\":\"request\"";
  append_field(out, R"(,"id":")", request.id);
  append_field(out, R"(,"trace":")", request.trace.trace_id_text());
  append_field(out, R"(,"address":")", request.client_address);
  append_field(out, R"(,"principal":")", request.principal.subject);
  append_field(out, R"(,"token":")", request.principal.token_id);
  append_field(out, R"(,"method":")", head.method_text);
  append_masked(out, R"(,"path":")", head.path.substr(0, kPathBytesMax));
  append_masked(out, R"(,"tenant":")", request.route.tenant);
  append_masked(out, R"(,"repository":")",
                std::string_view(request.route.path).substr(0, kPathBytesMax));
  append_field(out, R"(,"operation":")", request.operation);
  append_field(out, R"(,"decision":")", request.decision);
  append_field(out, R"(,"plan":")", request.plan);
  append_number(out, R"(,"status":)", request.status);
  if (request.cut) out += R"(,"cut":true)";
  append_masked(out, R"(,"detail":")", request.detail);
  append_number(out, R"(,"bytes_in":)", static_cast<std::int64_t>(exchange.body_bytes_received()));
  append_number(out, R"(,"bytes_out":)", static_cast<std::int64_t>(exchange.response_bytes()));
  append_number(out, R"(,"us":)", microseconds(now - exchange.arrived_at()));
  append_number(out, R"(,"phase_us":{"identify":)", microseconds(request.phases[0]));
  append_number(out, R"(,"locate":)", microseconds(request.phases[1]));
  append_number(out, R"(,"validate":)", microseconds(request.phases[2]));
  append_number(out, R"(,"serve":)", microseconds(request.phases[3]));
  out += '}';
  if (request.slot_wait.count() > 0) {
    append_number(out, R"(,"slot_wait_us":)", microseconds(request.slot_wait));
  }
  if (request.child_cpu_us > 0) {
    append_number(out, R"(,"child_cpu_us":)", static_cast<std::int64_t>(request.child_cpu_us));
    append_number(out, R"(,"child_rss_bytes":)",
                  static_cast<std::int64_t>(request.child_rss_bytes_max));
  }
  if (request.repository_generation > 0) {
    append_number(out, R"(,"generation":)",
                  static_cast<std::int64_t>(request.repository_generation));
  }
  append_field(out, R"(,"http":")", version_text(head.version));
  append_field(out, R"(,"tls":")", exchange.peer().tls_version);
  append_number(out, R"(,"git_protocol":)", request.route.protocol_version);
  append_masked(out, R"(,"agent":")",
                head.field("user-agent").value_or("").substr(0, kUserAgentBytesMax));
  append_number(out, R"(,"loop":)", loop);
  out += '}';
  return out;
}

std::string render_refused_record(std::string_view address, int status, std::string_view reason,
                                  int loop, std::int64_t unix_ns) {
  std::string out = "{\"time\":\"";
  append_utc_time(out, unix_ns);
  out += R"(","record":"refused")";
  append_field(out, R"(,"address":")", address);
  append_number(out, R"(,"status":)", status);
  append_field(out, R"(,"detail":")", reason);
  append_number(out, R"(,"loop":)", loop);
  out += '}';
  return out;
}

}  // namespace weir::server
