#pragma once
// SimTokens: a token store for simulated servers: answers late, or that it cannot tell. Its tokens
// are the same in every run and on every machine.

#include <map>

#include "server/authenticator.h"
#include "tests/sim/pipeline_script.h"

namespace weir::sim {

class SimTokens final : public server::TokenStore {
 public:
  SimTokens(io::SeededRandom random, io::Duration delay_max, std::uint64_t unavailable_odds);
  io::Task<io::Result<std::optional<server::StoredToken>>> find(std::string id) override;
  std::uint64_t version() const override { return 1; }

  static std::string token(Who who);  // "" for nobody
  // What no log may hold.
  static std::vector<std::string> secrets();

 private:
  io::SeededRandom random_;
  const io::Duration delay_max_;
  const std::uint64_t unavailable_odds_;
  std::map<std::string, server::StoredToken> by_id_;
};

}  // namespace weir::sim
