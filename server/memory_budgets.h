#pragma once
// Memory budgets: what this process may hold at the most, as a sum of named parts, each with the
// bound it comes from. Printed once at start, so that an operator can compare the sum with the
// machine; most of it is held only while its clients make use of it. Pure; any thread.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/config.h"

namespace weir::server {

// Receive buffers of the admin loop: its requests are small and few.
inline constexpr unsigned kAdminRecvBuffers = 64;

struct MemoryBudget {
  std::string_view name;
  std::uint64_t bytes_max;
};

std::vector<MemoryBudget> memory_budgets(const Config& config, std::uint64_t loops);
// "memory at most 5.2 GiB: ref_snapshots 512 MiB, ..."
std::string describe_memory_budgets(const std::vector<MemoryBudget>& budgets);

}  // namespace weir::server
