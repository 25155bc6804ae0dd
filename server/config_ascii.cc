#include "server/config_ascii.h"

#include <algorithm>
#include <cstdio>

namespace weir::server {
namespace {

bool is_control(char c) {
  return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
}

// Bytes of the UTF-8 sequence that `text` begins with (2..4), and what it stands for; 0: not UTF-8.
std::size_t decode(std::string_view text, std::uint32_t& point) {
  const auto first = static_cast<unsigned char>(text[0]);
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  point = first & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return 0;
    point = point << 6 | (next & 0x3fU);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xd800 && point <= 0xdfff;
  return point < kSmallest[length] || point > 0x10ffff || surrogate ? 0 : length;
}

// Where in the document the next character is.
struct Scanner {
  enum class In : std::uint8_t { plain, comment, basic, literal, long_basic, long_literal };
  In in = In::plain;

  // Takes `rest[0]`, an ASCII character; returns how many characters belong with it.
  std::size_t take(std::string_view rest) {
    const char c = rest[0];
    const bool is_long = in == In::long_basic || in == In::long_literal;
    if (in == In::plain) return open(rest);
    if (c == '\n' && !is_long) in = In::plain;
    if (c == '\\' && (in == In::basic || in == In::long_basic)) return escape(rest);
    const bool double_quoted = in == In::basic || in == In::long_basic;
    if (in == In::plain || in == In::comment || c != (double_quoted ? '"' : '\'')) return 1;
    const std::size_t quotes = std::min(rest.find_first_not_of(c), rest.size());
    if (is_long && quotes < 3) return quotes;
    in = In::plain;
    return is_long ? std::min<std::size_t>(quotes, 5) : 1;  // two may stand before the last three
  }

 private:
  std::size_t open(std::string_view rest) {
    const char c = rest[0];
    if (c == '#') in = In::comment;
    if (c != '"' && c != '\'') return 1;
    const bool is_long = rest.size() >= 3 && rest[1] == c && rest[2] == c;
    in = c == '"' ? (is_long ? In::long_basic : In::basic)
                  : (is_long ? In::long_literal : In::literal);
    return is_long ? 3 : 1;
  }
  static std::size_t escape(std::string_view rest) {
    return rest.size() >= 2 && (rest[1] == '"' || rest[1] == '\\') ? 2 : 1;
  }
};

}  // namespace

std::expected<std::string, ConfigTextProblem> config_in_ascii(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // byte order mark
  std::string out;
  out.reserve(text.size());
  Scanner scanner;
  std::uint32_t line = 1;
  bool after_backslash = false;  // an escape was begun and not ended
  while (!text.empty()) {
    const char c = text[0];
    if (is_control(c)) return std::unexpected(ConfigTextProblem{line, "a control character"});
    if (static_cast<unsigned char>(c) < 0x80) {
      const std::size_t taken = scanner.take(text);
      if (c == '\n') ++line;
      after_backslash = c == '\\' && taken == 1;
      out += text.substr(0, taken);
      text.remove_prefix(taken);
      continue;
    }
    std::uint32_t point = 0;
    const std::size_t length = decode(text, point);
    if (length == 0) return std::unexpected(ConfigTextProblem{line, "not UTF-8"});
    if (scanner.in == Scanner::In::basic && !after_backslash) {
      char escape[16];
      std::snprintf(escape, sizeof escape, "\\U%08X", static_cast<unsigned>(point));
      out += escape;
    } else if (scanner.in == Scanner::In::comment) {
      out += '?';
    } else {
      return std::unexpected(
          ConfigTextProblem{line, "letters beyond ASCII belong in \"\" strings or comments"});
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace weir::server
