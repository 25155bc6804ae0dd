#pragma once
// MaintenancePlan: what a repository's layout asks for, and in words why a clone of it is slow and
// what would fix that. A pure function of the layout and the thresholds; any thread.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "git/repository_layout.h"

namespace weir::git {

// Unreachable objects live at least this long, whatever anybody configures: a push under way, or
// one that was cut off, may still need them.
inline constexpr std::int64_t kUnreachableKeptMinS = 14 * 86'400L;

struct MaintenanceThresholds {
  std::uint64_t objects_min = 256;  // below: not worth a bitmap or a commit-graph
  std::uint64_t loose_objects_max = 256;
  std::uint64_t recent_packs_max = 8;
  std::uint64_t recent_objects_min = 256;        // beyond both, the bitmap is made anew:
  std::uint64_t recent_objects_percent_max = 1;  // of all objects
  std::uint64_t outside_core_percent_max = 50;   // of the core's objects
  std::int64_t core_age_min_s = 86'400;          // of a core pack that is made anew
  std::int64_t core_age_max_s = 30 * 86'400L;    // if anything has come since
};

enum class MaintenanceStep : std::uint8_t {
  roll_up,  // loose objects and recent packs into packs of growing size, with one bitmap
  core,     // everything into a core pack and, what no ref reaches, a cruft pack
  commit_graph,
};
std::string_view to_string(MaintenanceStep step);  // "roll-up", "core", "commit-graph"

struct PlannedStep {
  MaintenanceStep step;
  std::string reason;
};

struct MaintenancePlan {
  std::string obstacle;  // why nothing may be done; "" if nothing stands against it
  std::vector<std::string>
      slowed_by;                   // each with what fixes it; empty: a clone is as fast as can be
  std::vector<PlannedStep> steps;  // in order; empty: nothing is due
};

MaintenancePlan plan_maintenance(const RepositoryLayout& layout,
                                 const MaintenanceThresholds& thresholds = {});
// "65012 objects in 3 packs (24.1 MiB), 12 loose; bitmap of all packs; commit-graph"
std::string describe(const RepositoryLayout& layout);
std::string byte_text(std::uint64_t bytes);  // "24.1 MiB"

}  // namespace weir::git
