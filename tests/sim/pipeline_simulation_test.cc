// Runs of many seeds; see pipeline_simulation.h and seed_runner.h. With WEIR_SIM_SEED the server's
// log is shown.
#include "tests/sim/pipeline_simulation.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/sim/seed_runner.h"
#include "tests/sim/sim_tls.h"

namespace weir::sim {
namespace {

class PipelineSimulationTest : public testing::Test {
 protected:
  static SeedRunner& seeds() {
    static SeedRunner runner("PipelineSimulation*", WEIR_SIM_SEEDS_FILE, WEIR_SIM_FAILED_FILE);
    return runner;
  }
  static SimRepositories& repositories() {
    static SimRepositories all;
    return all;
  }
  std::vector<std::string> run(std::uint64_t seed) {
    PipelineOutcome outcome = simulate_pipeline(seed, tls_, repositories());
    if (SeedRunner::one_seed_only()) std::printf("%s", outcome.log.c_str());
    sum_.asks += outcome.asks;
    sum_.handled += outcome.handled;
    sum_.completed += outcome.completed;
    sum_.served += outcome.served;
    sum_.children += outcome.children;
    sum_.acknowledged += outcome.acknowledged;
    sum_.planned += outcome.planned;
    sum_.turns += outcome.turns;
    sum_.virtual_time += outcome.virtual_time;
    return std::move(outcome.violations);
  }

  const TlsContexts tls_ = make_tls_contexts();
  PipelineOutcome sum_;
};

TEST_F(PipelineSimulationTest, seeds_that_once_failed_hold) {
  if (SeedRunner::one_seed_only()) GTEST_SKIP() << "one seed only";
  seeds().run_kept([this](std::uint64_t seed) { return run(seed); });
}

TEST_F(PipelineSimulationTest, every_seed_holds) {
  const std::uint64_t count = seeds().run_many([this](std::uint64_t seed) { return run(seed); });
  std::printf(
      "%llu seeds: %zu requests, %zu handled, %zu answers complete, %zu as asked for, "
      "%zu children, %zu pushes acknowledged, %zu fetches planned, %llu turns, %lld s of virtual "
      "time\n",
      static_cast<unsigned long long>(count), sum_.asks, sum_.handled, sum_.completed, sum_.served,
      sum_.children, sum_.acknowledged, sum_.planned, static_cast<unsigned long long>(sum_.turns),
      static_cast<long long>(sum_.virtual_time / std::chrono::seconds(1)));
  if (count >= 100) {  // things happen at all
    EXPECT_GT(sum_.served, sum_.asks / 5);
    EXPECT_GT(sum_.children, sum_.asks / 5);
    EXPECT_GT(sum_.acknowledged, sum_.asks / 50);
    EXPECT_GT(sum_.planned, sum_.asks / 50);
  }
}

TEST_F(PipelineSimulationTest, the_same_seed_is_the_same_run) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const PipelineOutcome once = simulate_pipeline(seed, tls_, repositories());
    const PipelineOutcome again = simulate_pipeline(seed, tls_, repositories());
    EXPECT_EQ(once.trace, again.trace) << seed;
    EXPECT_EQ(once.turns, again.turns) << seed;
    EXPECT_EQ(once.virtual_time, again.virtual_time) << seed;
  }
}

}  // namespace
}  // namespace weir::sim
