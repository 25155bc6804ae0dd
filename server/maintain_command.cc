#include "server/maintain_command.h"

#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <string>

#include "git/maintenance.h"
#include "server/repository_lookup.h"
#include "server/repository_walk.h"

namespace weir::server {
namespace {

namespace fs = std::filesystem;

// "<tenant>/<path>"; null: there is none.
std::shared_ptr<const git::Repository> find(const std::string& root, const std::string& name) {
  const std::size_t slash = name.find('/');
  if (slash == name.npos || slash == 0) return nullptr;
  auto found = look_up_repository(root, name.substr(0, slash), name.substr(slash + 1));
  return found ? found->location.repository : nullptr;
}

// Folders of objects that repositories below the root borrow from.
class Borrowed {
 public:
  explicit Borrowed(std::string root) : root_(std::move(root)) {}

  // What cannot be known counts as borrowed from.
  bool has(const std::string& objects) {
    if (!folders_) read();
    return !complete_ || folders_->contains(fs::weakly_canonical(objects, error_).string());
  }

 private:
  void read() {
    folders_.emplace();
    complete_ = walk_repositories(root_, [this](const std::string& name) {
      for (const char* inside : {"", "/.git"}) {
        for (const std::string& folder : git::borrowed_folders(root_ + "/" + name + inside)) {
          folders_->insert(fs::weakly_canonical(folder, error_).string());
        }
      }
      return true;
    });
  }

  const std::string root_;
  std::optional<std::set<std::string>> folders_;
  bool complete_ = false;
  std::error_code error_;
};

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

// As server/maintenance_job.cc reads it.
bool maintain_briefly(const git::Repository& repository, const git::MaintenanceOptions& options) {
  const auto report = git::maintain(repository, options);
  if (!report) {
    say("none failed");
    say(to_string(report.error()));
    return false;
  }
  if (!report->skipped.empty()) {
    say("none skipped");
    say(report->skipped);
  } else if (report->results.empty()) {
    say("none not_due");
  }
  for (const git::StepResult& result : report->results) {
    say(fmt::format("{} {}", to_string(result.step), result.problem.empty() ? "done" : "failed"));
    if (!result.problem.empty()) say(result.problem);
  }
  return !report->failed();
}

// False if something failed.
bool maintain_one(const std::string& name, const git::Repository& repository,
                  const git::MaintenanceOptions& options) {
  const auto report = git::maintain(repository, options);
  if (!report) {
    say(fmt::format("{}: {}", name, to_string(report.error())));
    return false;
  }
  say(fmt::format("{}: {}", name, describe(report->before)));
  for (const std::string& reason : report->plan.slowed_by) say("  slow: " + reason);
  if (!report->plan.obstacle.empty()) say("  nothing done: " + report->plan.obstacle);
  if (report->temporary_files_removed > 0) {
    say(fmt::format("  removed {} files of packs that nobody writes any more",
                    report->temporary_files_removed));
  }
  if (!report->skipped.empty()) say("  skipped: " + report->skipped);
  if (report->plan.steps.empty() && report->plan.obstacle.empty()) say("  nothing is due");
  for (const git::PlannedStep& planned : report->plan.steps) {
    if (options.dry_run) {
      say(fmt::format("  due: {} ({})", to_string(planned.step), planned.reason));
    }
  }
  for (std::size_t i = 0; i < report->results.size(); ++i) {
    const git::StepResult& result = report->results[i];
    const std::string head =
        fmt::format("  {} ({}): ", to_string(result.step), report->plan.steps[i].reason);
    const double seconds = static_cast<double>(result.milliseconds) / 1000;
    say(result.problem.empty() ? head + fmt::format("done in {:.1f} s, {} -> {}", seconds,
                                                    git::byte_text(result.bytes_before),
                                                    git::byte_text(result.bytes_after))
                               : head + "failed: " + result.problem);
  }
  if (!report->results.empty()) say("  now: " + describe(report->after));
  return !report->failed();
}

}  // namespace

int maintain_command(const MaintainOptions& options, const std::vector<std::string>& names) {
  ::signal(SIGPIPE, SIG_IGN);  // who reads our words may leave; the work goes on
  git::become_idle();
  Borrowed borrowed(options.root);
  git::MaintenanceOptions git_options;
  git_options.git_path = options.git_path;
  git_options.dry_run = options.dry_run;
  git_options.on_any_file_system = !options.brief;  // by hand
  git_options.borrowed_from = [&borrowed](const std::string& objects) {
    return borrowed.has(objects);
  };
  bool all_well = true;
  const auto maintain_named = [&](const std::string& name) {
    const auto repository = find(options.root, name);
    if (repository == nullptr) return false;
    const bool well = options.brief ? maintain_briefly(*repository, git_options)
                                    : maintain_one(name, *repository, git_options);
    all_well = well && all_well;
    return true;
  };
  for (const std::string& name : names) {
    if (maintain_named(name)) continue;
    std::fprintf(stderr, "weir maintain: %s: no git repository of that name below %s\n",
                 name.c_str(), options.root.c_str());
    all_well = false;
  }
  if (!names.empty()) return all_well ? 0 : 1;
  // What is not git is passed over.
  const bool complete = walk_repositories(options.root, [&](const std::string& name) {
    (void)maintain_named(name);
    return true;
  });
  if (!complete) {
    std::fprintf(stderr, "weir maintain: more than %zu folders below %s; name the repositories\n",
                 kFoldersMax, options.root.c_str());
  }
  return all_well && complete ? 0 : 1;
}

}  // namespace weir::server
