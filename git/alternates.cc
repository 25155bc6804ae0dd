#include "git/alternates.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace weir::git {
namespace {

constexpr std::pair<char, char> kEscapes[] = {{'a', '\a'}, {'b', '\b'},  {'f', '\f'},
                                              {'n', '\n'}, {'r', '\r'},  {'t', '\t'},
                                              {'v', '\v'}, {'\\', '\\'}, {'"', '"'}};

bool octal(char c, char last = '7') {
  return c >= '0' && c <= last;
}

// `quoted` begins with the quote. What follows the closing one is left in `rest`.
std::optional<std::string> unquote(std::string_view quoted, std::string_view& rest) {
  std::string text;
  for (std::size_t i = 1; i < quoted.size(); ++i) {
    if (quoted[i] == '"') {
      rest = quoted.substr(i + 1);
      return text;
    }
    if (quoted[i] != '\\') {
      text.push_back(quoted[i]);
      continue;
    }
    if (++i == quoted.size()) break;
    if (octal(quoted[i], '3')) {
      if (quoted.size() - i < 3 || !octal(quoted[i + 1]) || !octal(quoted[i + 2])) break;
      text.push_back(static_cast<char>((quoted[i] - '0') << 6 | (quoted[i + 1] - '0') << 3 |
                                       (quoted[i + 2] - '0')));
      i += 2;
      continue;
    }
    const auto* const escape =
        std::ranges::find(kEscapes, quoted[i], [](const auto& known) { return known.first; });
    if (escape == std::end(kEscapes)) break;
    text.push_back(escape->second);
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> parse_alternates(std::string_view content) {
  std::vector<std::string> paths;
  while (!content.empty()) {
    const std::size_t end = std::min(content.find('\n'), content.size());
    const std::string_view line = content.substr(0, end);
    std::string_view after;
    if (line.starts_with('#')) {
      content.remove_prefix(std::min(end + 1, content.size()));
      continue;
    }
    // A quoted path may hold line ends.
    if (auto path = line.starts_with('"') ? unquote(content, after) : std::nullopt) {
      paths.push_back(std::move(*path));
      content = after.starts_with('\n') ? after.substr(1) : after;
      continue;
    }
    if (!line.empty()) paths.emplace_back(line);
    content.remove_prefix(std::min(end + 1, content.size()));
  }
  std::erase(paths, std::string());
  return paths;
}

}  // namespace weir::git
