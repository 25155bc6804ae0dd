#pragma once
// Hidden refs: transfer.hideRefs and its kin, git-config(1). The last pattern that matches decides;
// '!' reveals; '^' matches the name before namespace stripping, which is the name itself here
// because Weir serves no namespaces. A pattern matches whole components: "refs/a" hides "refs/a"
// and "refs/a/b". Stateless; any thread.

#include <span>
#include <string>
#include <string_view>

namespace weir::git {

struct HidePattern {
  std::string_view prefix;  // without '!', '^' and trailing slashes; borrowed
  bool hides = true;

  explicit HidePattern(std::string_view text);
  bool matches(std::string_view name) const {
    return name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '/');
  }
};

bool is_hidden(std::string_view name, std::span<const std::string> patterns);

}  // namespace weir::git
