#pragma once
// Authorizer: may this principal read from, or push to, this repository? Rules of the
// configuration: the most specific match decides, wholly: exact name, then longest glob, then
// tenant, then the default.
// ".git" at the end of a name or of a rule counts for nothing, for it names the same repository.
// Immutable; a reload makes a new one. Pure.

#include <string>
#include <string_view>
#include <vector>

#include "server/config.h"
#include "server/principal.h"

namespace weir::server {

enum class Access : std::uint8_t { read, push };

enum class Authorization : std::uint8_t {
  allowed,
  ask_credentials,  // anonymous, and either private or missing: 401, the same for both
  hidden,           // known, but may not read (or it is missing): 404, the same for both
  read_only,        // may read, not push: 403
};

class Authorizer {
 public:
  explicit Authorizer(AccessConfig config) : config_(std::move(config)) {}
  // `repository_name`: "<tenant>/<path>" as asked for. `exists`: whether the repository was found;
  // missing answers like private.
  Authorization authorize(const Principal& principal, std::string_view tenant,
                          std::string_view repository_name, Access access, bool exists) const;
  const std::string& realm() const { return config_.realm; }

 private:
  AccessRule rule_for(std::string_view tenant, std::string_view repository_name) const;

  AccessConfig config_;
};

}  // namespace weir::server
