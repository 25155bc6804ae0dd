#pragma once
// Byte classes of HTTP/1.x (RFC 9110 5.6, RFC 9112), one table look-up each. Shared by the head
// parser, the chunked decoder and the response writer. Stateless; any thread.

#include <array>
#include <cstdint>
#include <string_view>

namespace weir::http {

enum CharClass : std::uint8_t {
  kTokenChar = 1,   // method and field names
  kTargetChar = 2,  // request target: visible ASCII but '#'
  kValueChar = 4,   // field values: visible, space, tab, obs-text; no control bytes
  kHostChar = 8,    // Host: no separators that another parser could split at
};

inline constexpr std::array<std::uint8_t, 256> kCharClasses = [] {
  std::array<std::uint8_t, 256> table{};
  constexpr std::string_view kTokenMarks = "!#$%&'*+-.^_`|~";
  constexpr std::string_view kHostMarks = "-._~%!$&'()*+;=:[]";
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool alphanumeric =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    unsigned classes = 0;
    if (alphanumeric || (byte < 128 && kTokenMarks.contains(c))) classes |= kTokenChar;
    if (alphanumeric || (byte < 128 && kHostMarks.contains(c))) classes |= kHostChar;
    if (byte > 0x20 && byte < 0x7f && c != '#') classes |= kTargetChar;
    if (byte == '\t' || (byte >= 0x20 && byte != 0x7f)) classes |= kValueChar;
    table[byte] = static_cast<std::uint8_t>(classes);
  }
  return table;
}();

inline bool is_char(char c, CharClass wanted) {
  return (kCharClasses[static_cast<std::uint8_t>(c)] & wanted) != 0;
}

inline bool all_chars(std::string_view text, CharClass wanted) {
  for (const char c : text) {
    if (!is_char(c, wanted)) return false;
  }
  return true;
}

// -1 for anything that is no hexadecimal digit.
inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace weir::http
