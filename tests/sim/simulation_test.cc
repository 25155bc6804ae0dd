// Runs of many seeds; see simulation.h and seed_runner.h.
#include "tests/sim/simulation.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/sim/seed_runner.h"
#include "tests/sim/sim_tls.h"

namespace weir::sim {
namespace {

class SimulationTest : public testing::Test {
 protected:
  static SeedRunner& seeds() {
    static SeedRunner runner("Simulation*", WEIR_SIM_SEEDS_FILE, WEIR_SIM_FAILED_FILE);
    return runner;
  }
  std::vector<std::string> run(std::uint64_t seed) {
    Outcome outcome = simulate(seed, tls_);
    sum_.requests += outcome.requests;
    sum_.completed += outcome.completed;
    sum_.turns += outcome.turns;
    sum_.recvs_parked += outcome.recvs_parked;
    sum_.submits_deferred += outcome.submits_deferred;
    sum_.virtual_time += outcome.virtual_time;
    return std::move(outcome.violations);
  }

  const TlsContexts tls_ = make_tls_contexts();
  Outcome sum_;
};

TEST_F(SimulationTest, seeds_that_once_failed_hold) {
  if (SeedRunner::one_seed_only()) GTEST_SKIP() << "one seed only";
  seeds().run_kept([this](std::uint64_t seed) { return run(seed); });
}

TEST_F(SimulationTest, every_seed_holds) {
  const std::uint64_t count = seeds().run_many([this](std::uint64_t seed) { return run(seed); });
  std::printf(
      "%llu seeds: %zu requests, %zu answers complete, %llu turns, %llu recvs parked, "
      "%llu submits deferred, %lld s of virtual time\n",
      static_cast<unsigned long long>(count), sum_.requests, sum_.completed,
      static_cast<unsigned long long>(sum_.turns),
      static_cast<unsigned long long>(sum_.recvs_parked),
      static_cast<unsigned long long>(sum_.submits_deferred),
      static_cast<long long>(sum_.virtual_time / std::chrono::seconds(1)));
  if (count >= 100) {  // the faults are there at all
    EXPECT_GT(sum_.completed, sum_.requests / 4);
    EXPECT_GT(sum_.recvs_parked, 0U);
    EXPECT_GT(sum_.submits_deferred, 0U);
  }
}

TEST_F(SimulationTest, the_same_seed_is_the_same_run) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome once = simulate(seed, tls_);
    const Outcome again = simulate(seed, tls_);
    EXPECT_EQ(once.trace, again.trace) << seed;
    EXPECT_EQ(once.turns, again.turns) << seed;
    EXPECT_EQ(once.virtual_time, again.virtual_time) << seed;
  }
}

}  // namespace
}  // namespace weir::sim
