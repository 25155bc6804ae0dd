#pragma once
// Principal: who is asking, after authentication. A value.

#include <cstdint>
#include <string>
#include <vector>

namespace weir::server {

enum class Scope : std::uint8_t { read = 1, push = 2 };

struct Principal {
  std::string token_id;             // "" = anonymous
  std::string subject;              // user or robot the token was made for
  std::string tenant;               // the tenant the token belongs to; "*" = every tenant
  std::uint8_t scopes = 0;          // Scope bits
  std::int64_t expires_unix_s = 0;  // 0: never

  bool anonymous() const { return token_id.empty(); }
  bool has(Scope scope) const { return (scopes & static_cast<std::uint8_t>(scope)) != 0; }
};

}  // namespace weir::server
