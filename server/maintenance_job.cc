#include "server/maintenance_job.h"

#include <fmt/format.h>
#include <signal.h>

#include <array>
#include <string_view>

#include "git/child_pipes.h"
#include "io/log.h"
#include "io/metrics.h"

namespace weir::server {
namespace {

constexpr std::size_t kOutputBytesMax = 4096;
constexpr std::uint64_t kDataBytesMax = 4UL * 1024 * 1024 * 1024;  // of each process's heap

// Steps and results as `weir maintain --brief` names them.
struct Outcome {
  std::string_view step, result;
};
constexpr std::array<Outcome, 9> kOutcomes = {{{"core", "done"},
                                               {"core", "failed"},
                                               {"roll-up", "done"},
                                               {"roll-up", "failed"},
                                               {"commit-graph", "done"},
                                               {"commit-graph", "failed"},
                                               {"none", "skipped"},
                                               {"none", "not_due"},
                                               {"none", "failed"}}};

struct Instruments {
  std::array<io::Counter, kOutcomes.size()> runs;
  io::Histogram time = io::Metrics::instance().histogram(
      "weir_maintenance_seconds", "", "Time that the maintenance of a repository took.");
  Instruments() {
    for (std::size_t i = 0; i < kOutcomes.size(); ++i) {
      runs[i] = io::Metrics::instance().counter(
          "weir_maintenance_runs",
          fmt::format("step=\"{}\",result=\"{}\"", kOutcomes[i].step, kOutcomes[i].result),
          "Steps of the maintenance of repositories.");
    }
  }
};

const Instruments& instruments() {
  static const Instruments instance;
  return instance;
}

// Of lines "<step> <result>". False: none of them is one.
bool count(std::string_view output) {
  bool any = false;
  while (!output.empty()) {
    const std::string_view line = output.substr(0, output.find('\n'));
    output.remove_prefix(std::min(output.size(), line.size() + 1));
    for (std::size_t i = 0; i < kOutcomes.size(); ++i) {
      if (line != fmt::format("{} {}", kOutcomes[i].step, kOutcomes[i].result)) continue;
      instruments().runs[i].add();
      any = true;
    }
  }
  return any;
}

io::Task<std::string> output_of(io::EventLoop& loop, io::Spawner& launcher, io::SubprocessSpec spec,
                                io::StopToken stop) {
  const io::Deadline deadline = io::Deadline::after(loop.now(), kMaintenanceTimeMax);
  auto child = co_await launcher.spawn(std::move(spec), deadline);
  if (!child) co_return "";
  (*child)->close_stdin();
  const auto status = co_await (*child)->wait(stop, deadline);
  if (!status) {
    (*child)->kill(SIGKILL);
    co_return "";
  }
  std::array<std::uint8_t, kOutputBytesMax> bytes{};
  const std::size_t got = git::read_pipe_now((*child)->stdout_fd(), bytes);
  co_return std::string(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(got));
}

}  // namespace

void count_maintenance() {
  (void)instruments();
}

io::Task<void> run_maintenance(io::EventLoop& loop, io::Spawner& launcher,
                               const MaintenanceJobOptions& options,
                               std::shared_ptr<const git::Repository> repository,
                               io::StopToken stop) {
  io::SubprocessSpec spec;
  spec.argv = {options.weir_path, "maintain",   "--brief", "--git",         options.git_path,
               "--root",          options.root, "--",      repository->name};
  spec.env = {"LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin"};
  spec.rights = io::ChildRights::read_write;
  spec.write_paths = writable_folders(*repository);
  spec.nice = 19;
  spec.merge_stderr = true;
  spec.data_bytes_max = kDataBytesMax;
  const io::Instant began = loop.now();
  std::string output = co_await output_of(loop, launcher, std::move(spec), stop);
  const io::Duration took = loop.now() - began;
  instruments().time.observe(took);
  if (!count(output)) instruments().runs.back().add();
  for (char& c : output) {
    if (c == '\n') c = ';';
  }
  io::log_event(io::LogLevel::info,
                fmt::format("maintenance of {}: {} in {} ms", repository->name,
                            output.empty() ? "cut off" : output,
                            std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
  options.schedule->ended(*repository, loop.now());
}

}  // namespace weir::server
