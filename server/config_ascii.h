#pragma once
// A TOML document in ASCII: letters beyond it become \U escapes in one-line double-quoted strings
// and question marks in comments; anywhere else they are refused, as are control characters, which
// TOML forbids. toml++ 3.3 has undefined behaviour instead of an error on some of them, so it must
// never see one, however a wrong document is read. Lines stay where they are. Pure.

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace weir::server {

struct ConfigTextProblem {
  std::uint32_t line;
  std::string_view what;
};

std::expected<std::string, ConfigTextProblem> config_in_ascii(std::string_view text);

}  // namespace weir::server
