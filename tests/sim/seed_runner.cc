#include "tests/sim/seed_runner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

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

// For a signal handler.
char replay_line[256];
char seed_line[32];
int failed_fd = -1;

void write_all(int fd, const char* text) {
  const auto written = ::write(fd, text, std::strlen(text));
  (void)written;
}

void say_seed(int signal) {
  write_all(STDERR_FILENO, replay_line);
  write_all(failed_fd, seed_line);
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

std::optional<std::uint64_t> number_from(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  return std::strtoull(text, nullptr, 10);
}

}  // namespace

SeedRunner::SeedRunner(std::string tests, std::string repaired, std::string failed)
    : tests_(std::move(tests)), repaired_(std::move(repaired)), failed_(std::move(failed)) {
  failed_fd = ::open(failed_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  EXPECT_GE(failed_fd, 0) << failed_;
  for (const int signal : {SIGABRT, SIGSEGV, SIGALRM}) std::signal(signal, say_seed);
}

void SeedRunner::run(std::uint64_t seed, const Run& simulate) {
  const auto number = static_cast<unsigned long long>(seed);
  std::snprintf(replay_line, sizeof replay_line,
                "replay: WEIR_SIM_SEED=%llu %s --gtest_filter='%s'\n", number,
                program_invocation_name, tests_.c_str());
  std::snprintf(seed_line, sizeof seed_line, "%llu\n", number);
  ::alarm(kSecondsMax);
  const std::vector<std::string> violations = simulate(seed);
  ::alarm(0);
  for (const std::string& text : violations) {
    ADD_FAILURE() << "seed " << seed << ": " << text << "\n" << replay_line;
  }
  if (!violations.empty()) write_all(failed_fd, seed_line);
}

std::vector<std::uint64_t> SeedRunner::read(const std::string& path) {
  std::vector<std::uint64_t> seeds;
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') continue;
    const std::uint64_t seed = std::strtoull(line.c_str(), nullptr, 10);
    if (std::ranges::find(seeds, seed) == seeds.end()) seeds.push_back(seed);
  }
  return seeds;
}

void SeedRunner::run_kept(const Run& simulate) {
  const std::vector<std::uint64_t> failed = read(failed_);
  for (const std::uint64_t seed : failed) run(seed, simulate);
  // Who crashes does not come here, so that nothing is forgotten.
  if (!failed.empty() && !testing::Test::HasFailure()) {
    std::printf("%zu seeds that failed before hold now; if that is a repair, put one into %s\n",
                failed.size(), repaired_.c_str());
    EXPECT_EQ(::ftruncate(failed_fd, 0), 0);
  }
  for (const std::uint64_t seed : read(repaired_)) run(seed, simulate);
}

std::uint64_t SeedRunner::run_many(const Run& simulate) {
  const auto one = number_from("WEIR_SIM_SEED");
  const std::uint64_t first = one ? *one : number_from("WEIR_SIM_FROM").value_or(1);
  const std::uint64_t count = one ? 1 : number_from("WEIR_SIM_SEEDS").value_or(kSeedsDefault);
  for (std::uint64_t seed = first; seed < first + count; ++seed) run(seed, simulate);
  return count;
}

bool SeedRunner::one_seed_only() {
  return number_from("WEIR_SIM_SEED").has_value();
}

}  // namespace weir::sim
