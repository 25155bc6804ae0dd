#include "git/hide_refs.h"

namespace weir::git {

HidePattern::HidePattern(std::string_view text) {
  while (text.ends_with('/')) text.remove_suffix(1);
  if (text.starts_with('!')) {
    hides = false;
    text.remove_prefix(1);
  }
  if (text.starts_with('^')) text.remove_prefix(1);
  prefix = text;
}

bool is_hidden(std::string_view name, std::span<const std::string> patterns) {
  for (std::size_t i = patterns.size(); i-- > 0;) {
    const HidePattern pattern(patterns[i]);
    if (pattern.matches(name)) return pattern.hides;
  }
  return false;
}

}  // namespace weir::git
