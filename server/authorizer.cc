#include "server/authorizer.h"

#include "io/check.h"

namespace weir::server {
namespace {

std::string_view without_suffix(std::string_view name) {
  if (name.ends_with(".git") && !name.ends_with("/.git")) name.remove_suffix(4);
  return name;
}

// '*' stands for any run of characters, '/' included. Linear in the product of the lengths at
// worst.
bool glob_matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0;
  std::size_t star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

AccessRule Authorizer::rule_for(std::string_view tenant, std::string_view repository_name) const {
  const std::string_view name = without_suffix(repository_name);
  const AccessRule* best = nullptr;
  std::size_t best_rank = 0;  // 1: tenant; 2 + length: glob; the largest: exact
  for (const AccessRule& rule : config_.rules) {
    const std::string_view match = without_suffix(rule.match);
    std::size_t rank = 0;
    if (match.find('*') != std::string_view::npos) {
      if (glob_matches(match, name)) rank = 2 + match.size();
    } else if (rule.match.find('/') == std::string::npos) {
      if (rule.match == tenant) rank = 1;
    } else if (match == name) {
      rank = static_cast<std::size_t>(-1);
    }
    if (rank > best_rank) {
      best = &rule;
      best_rank = rank;
    }
  }
  if (best != nullptr) return *best;
  return AccessRule{.match = "", .public_read = config_.public_read, .push = true};
}

Authorization Authorizer::authorize(const Principal& principal, std::string_view tenant,
                                    std::string_view repository_name, Access access,
                                    bool exists) const {
  WEIR_CHECK(repository_name.starts_with(tenant) && repository_name.size() > tenant.size() &&
             repository_name[tenant.size()] == '/');
  const AccessRule rule = rule_for(tenant, repository_name);
  const bool ours =
      !principal.anonymous() && (principal.tenant == "*" || principal.tenant == tenant);
  const bool may_read = exists && (rule.public_read || (ours && principal.has(Scope::read)));
  const bool may_push = exists && rule.push && ours && principal.has(Scope::push);
  if (access == Access::read ? may_read : may_push) return Authorization::allowed;
  if (principal.anonymous()) return Authorization::ask_credentials;
  return may_read ? Authorization::read_only : Authorization::hidden;
}

}  // namespace weir::server
