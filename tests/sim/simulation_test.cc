// Runs of many seeds; see simulation.h. WEIR_SIM_SEEDS=N runs N of them, WEIR_SIM_FROM=N begins
// elsewhere, WEIR_SIM_SEED=N runs that one only. Seeds that once failed are in seeds.txt and run
// first, always.
#include "tests/sim/simulation.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "tests/io/test_certificates.h"

namespace weir::sim {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr std::uint64_t kSeedsDefault = 500;
#elif defined(__OPTIMIZE__)
constexpr std::uint64_t kSeedsDefault = 3000;
#else
constexpr std::uint64_t kSeedsDefault = 300;
#endif
#endif
constexpr unsigned kSecondsMax = 60;  // of real time: a loop within one turn

char replay_line[128];

void say_seed(int signal) {
  const auto written = ::write(STDERR_FILENO, replay_line, std::strlen(replay_line));
  (void)written;
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

class SimulationTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (const int signal : {SIGABRT, SIGSEGV, SIGALRM}) std::signal(signal, say_seed);
  }

  Outcome run(std::uint64_t seed) {
    std::snprintf(replay_line, sizeof replay_line,
                  "replay: WEIR_SIM_SEED=%llu %s --gtest_filter='Simulation*'\n",
                  static_cast<unsigned long long>(seed), program_invocation_name);
    ::alarm(kSecondsMax);
    Outcome outcome = simulate(seed, tls_);
    ::alarm(0);
    for (const std::string& text : outcome.violations) {
      ADD_FAILURE() << "seed " << seed << ": " << text << "\n" << replay_line;
    }
    return outcome;
  }

  static std::optional<std::uint64_t> number_from(const char* variable) {
    const char* text = std::getenv(variable);
    if (text == nullptr) return std::nullopt;
    return std::strtoull(text, nullptr, 10);
  }

 private:
  // Signatures of Ed25519 have one length, so that equal seeds are equal runs.
  static TlsContexts make_contexts() {
    std::string problem;
    const io::CertificateFiles files = io::TestCertificates::shared().make(
        "simulated", io::TestCertificates::KeyType::ed25519, "DNS:localhost");
    TlsContexts contexts;
    io::TlsServerConfig server_config;
    server_config.certificates = {files};
    contexts.server = io::TlsContext::create_server(server_config, problem).value();
    const auto client = [&](const char* alpn) {
      return io::TlsContext::create_client({.ca_path = files.certificate_path, .alpn = {alpn}},
                                           problem)
          .value();
    };
    contexts.http1_client = client("http/1.1");
    contexts.http2_client = client("h2");
    return contexts;
  }
  const TlsContexts tls_ = make_contexts();
};

TEST_F(SimulationTest, seeds_that_once_failed_hold) {
  if (number_from("WEIR_SIM_SEED")) GTEST_SKIP() << "one seed only";
  std::ifstream seeds(WEIR_SIM_SEEDS_FILE);
  ASSERT_TRUE(seeds.is_open());
  for (std::string line; std::getline(seeds, line);) {
    if (!line.empty() && line.front() != '#') run(std::strtoull(line.c_str(), nullptr, 10));
  }
}

TEST_F(SimulationTest, every_seed_holds) {
  const auto one = number_from("WEIR_SIM_SEED");
  const std::uint64_t first = one ? *one : number_from("WEIR_SIM_FROM").value_or(1);
  const std::uint64_t count = one ? 1 : number_from("WEIR_SIM_SEEDS").value_or(kSeedsDefault);
  Outcome sum;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const Outcome outcome = run(seed);
    sum.requests += outcome.requests;
    sum.completed += outcome.completed;
    sum.turns += outcome.turns;
    sum.recvs_parked += outcome.recvs_parked;
    sum.submits_deferred += outcome.submits_deferred;
    sum.virtual_time += outcome.virtual_time;
  }
  std::printf(
      "%llu seeds: %zu requests, %zu answers complete, %llu turns, %llu recvs parked, "
      "%llu submits deferred, %lld s of virtual time\n",
      static_cast<unsigned long long>(count), sum.requests, sum.completed,
      static_cast<unsigned long long>(sum.turns), static_cast<unsigned long long>(sum.recvs_parked),
      static_cast<unsigned long long>(sum.submits_deferred),
      static_cast<long long>(sum.virtual_time / std::chrono::seconds(1)));
  if (count >= 100) {  // the faults are there at all
    EXPECT_GT(sum.completed, sum.requests / 4);
    EXPECT_GT(sum.recvs_parked, 0U);
    EXPECT_GT(sum.submits_deferred, 0U);
  }
}

TEST_F(SimulationTest, the_same_seed_is_the_same_run) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome once = run(seed);
    const Outcome again = run(seed);
    EXPECT_EQ(once.trace, again.trace) << seed;
    EXPECT_EQ(once.turns, again.turns) << seed;
    EXPECT_EQ(once.virtual_time, again.virtual_time) << seed;
  }
}

}  // namespace
}  // namespace weir::sim
