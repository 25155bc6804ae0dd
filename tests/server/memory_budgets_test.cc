#include "server/memory_budgets.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

std::uint64_t sum(const Config& config, std::uint64_t loops) {
  std::uint64_t total = 0;
  for (const MemoryBudget& budget : memory_budgets(config, loops)) total += budget.bytes_max;
  return total;
}

TEST(MemoryBudgets, grow_with_what_the_operator_allows) {
  const Config defaults;
  for (const auto change : {+[](Config& c) { c.limits.connections_max *= 2; },
                            +[](Config& c) { c.limits.requests_in_flight_max *= 2; },
                            +[](Config& c) { c.limits.requests_held_bytes_max *= 2; }}) {
    Config more = defaults;
    change(more);
    EXPECT_GT(sum(more, 2), sum(defaults, 2));
  }
  EXPECT_GT(sum(defaults, 4), sum(defaults, 2));
}

TEST(MemoryBudgets, are_described_in_one_line_with_their_sum) {
  EXPECT_EQ(describe_memory_budgets({{"a", 1024UL * 1024}, {"b", 1}}),
            "memory at most 2 MiB in this process: a 1 MiB, b 1 MiB");
}

}  // namespace
}  // namespace weir::server
