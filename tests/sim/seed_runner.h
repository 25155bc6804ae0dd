#pragma once
// SeedRunner: runs a simulation for many seeds and keeps those that fail. WEIR_SIM_SEEDS=N runs N
// of them, WEIR_SIM_FROM=N begins elsewhere, WEIR_SIM_SEED=N runs that one only. A seed that fails,
// by violations or by a crash, is printed with the command that replays it and written to a file in
// the build folder, which the next run tries first: until it holds there. Seeds of defects that
// were repaired are in the source tree and run always. One a test program.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace weir::sim {

class SeedRunner {
 public:
  // Returns what did not hold.
  using Run = std::function<std::vector<std::string>(std::uint64_t seed)>;

  // `tests`: the filter that names the program's simulations; `repaired`, `failed`: the files.
  SeedRunner(std::string tests, std::string repaired, std::string failed);

  void run(std::uint64_t seed, const Run& simulate);
  // Those that failed in the last run, then those that were repaired.
  void run_kept(const Run& simulate);
  // Returns how many.
  std::uint64_t run_many(const Run& simulate);
  static bool one_seed_only();

 private:
  static std::vector<std::uint64_t> read(const std::string& path);

  const std::string tests_;
  const std::string repaired_;
  const std::string failed_;
};

}  // namespace weir::sim
