#include "git/maintenance_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace weir::git {
namespace {

constexpr std::uint64_t kPacksSlow = 3;  // objects are looked for in one after the other

bool can_have_bitmap(const RepositoryLayout& layout) {
  return !layout.borrows && !layout.shallow;
}

std::uint64_t outside_core(const RepositoryLayout& layout) {
  return layout.objects() - std::min(layout.objects(), layout.core_objects);
}

std::uint64_t not_bitmapped(const RepositoryLayout& layout) {
  return layout.objects() - std::min(layout.objects(), layout.bitmapped_objects);
}

// Why a core pack is due; "" if it is not.
std::string core_reason(const RepositoryLayout& layout, const MaintenanceThresholds& thresholds) {
  if (layout.objects() < thresholds.objects_min) return "";
  if (!layout.core_present) return "no core pack is laid out for clones";
  if (layout.core_age_s < thresholds.core_age_min_s) return "";
  if (!layout.core_branch_is_head) return "the core pack is laid out for another default branch";
  const std::uint64_t outside = outside_core(layout);
  if (outside * 100 > layout.core_objects * thresholds.outside_core_percent_max) {
    return fmt::format("{} objects beside a core pack of {}", outside, layout.core_objects);
  }
  if (layout.cruft_objects > 0 && layout.cruft_age_s >= kUnreachableKeptMinS) {
    return fmt::format("a cruft pack of {} objects that are old enough to go",
                       layout.cruft_objects);
  }
  if (layout.core_age_s >= thresholds.core_age_max_s && outside > 0) {
    return fmt::format("the core pack is {} days old", layout.core_age_s / 86'400);
  }
  return "";
}

std::string roll_up_reason(const RepositoryLayout& layout,
                           const MaintenanceThresholds& thresholds) {
  if (layout.loose_objects >= thresholds.loose_objects_max) {
    return fmt::format("{} loose objects", layout.loose_objects);
  }
  if (layout.packs > 1 && layout.recent_packs >= thresholds.recent_packs_max) {
    return fmt::format("{} packs that no bitmap knows", layout.recent_packs);
  }
  if (!can_have_bitmap(layout) || layout.objects() < thresholds.objects_min) return "";
  if (layout.bitmap == BitmapKind::none) return "no bitmap";
  const std::uint64_t missing = not_bitmapped(layout);
  if (missing >= thresholds.recent_objects_min &&
      missing * 100 > layout.objects() * thresholds.recent_objects_percent_max) {
    return fmt::format("{} objects that the bitmap does not know", missing);
  }
  return "";
}

void find_slowness(const RepositoryLayout& layout, const MaintenanceThresholds& thresholds,
                   std::vector<std::string>& slowed_by) {
  if (layout.partial) {
    slowed_by.emplace_back(
        "it is a partial clone: what it lacks is somewhere else; nothing here "
        "fixes that");
  }
  if (layout.loose_objects >= thresholds.loose_objects_max) {
    slowed_by.push_back(
        fmt::format("{} loose objects are opened and compressed one by one; a roll-up packs them",
                    layout.loose_objects));
  }
  if (layout.objects() < thresholds.objects_min) return;
  if (layout.borrows) {
    slowed_by.emplace_back(
        "it borrows objects, so that it can have no bitmap: each clone walks its "
        "history; copying what it borrows (git repack -a) would fix it");
  } else if (layout.shallow) {
    slowed_by.emplace_back(
        "its history is cut off, so that it can have no bitmap; git fetch "
        "--unshallow would fix it");
  } else if (layout.bitmap == BitmapKind::none) {
    slowed_by.emplace_back(
        "no bitmap tells what is reachable: each clone walks all of history; a "
        "roll-up makes one");
  } else if (const std::uint64_t missing = not_bitmapped(layout);
             missing * 100 > layout.objects() * thresholds.recent_objects_percent_max) {
    slowed_by.push_back(
        fmt::format("its bitmap does not know {} of {} objects, which are walked; a roll-up makes "
                    "it anew",
                    missing, layout.objects()));
  }
  if (!layout.core_present) {
    slowed_by.emplace_back(
        "no pack is laid out for clones: answers are put together from many "
        "places, and deltas are computed anew; a core pack fixes it");
  } else if (!layout.core_branch_is_head) {
    slowed_by.emplace_back(
        "its core pack is laid out for another default branch; a new core pack "
        "fixes it");
  }
  if (layout.packs > kPacksSlow && !layout.multi_pack_index) {
    slowed_by.push_back(fmt::format(
        "objects are looked for in {} packs without an index of all; a roll-up makes one",
        layout.packs));
  }
  if (!layout.commit_graph && !layout.shallow) {
    slowed_by.emplace_back(
        "no commit-graph: walking parses each commit; one is written beside a "
        "roll-up");
  }
}

}  // namespace

std::string_view to_string(MaintenanceStep step) {
  constexpr std::array<std::string_view, 3> kNames = {"roll-up", "core", "commit-graph"};
  return kNames[static_cast<std::size_t>(step)];
}

MaintenancePlan plan_maintenance(const RepositoryLayout& layout,
                                 const MaintenanceThresholds& thresholds) {
  MaintenancePlan plan;
  find_slowness(layout, thresholds, plan.slowed_by);
  if (layout.partial) {
    plan.obstacle = "a partial clone is not repacked";
    return plan;
  }
  if (std::string reason = core_reason(layout, thresholds); !reason.empty()) {
    plan.steps.push_back({MaintenanceStep::core, std::move(reason)});
  } else if (reason = roll_up_reason(layout, thresholds); !reason.empty()) {
    plan.steps.push_back({MaintenanceStep::roll_up, std::move(reason)});
  }
  if (layout.shallow || layout.objects() < thresholds.objects_min) return plan;
  if (!layout.commit_graph) {
    plan.steps.push_back({MaintenanceStep::commit_graph, "no commit-graph"});
  } else if (!plan.steps.empty()) {
    plan.steps.push_back({MaintenanceStep::commit_graph, "commits have come and moved"});
  }
  return plan;
}

std::string byte_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string describe(const RepositoryLayout& layout) {
  std::string text =
      fmt::format("{} objects in {} pack{} ({}), {} loose", layout.packed_objects, layout.packs,
                  layout.packs == 1 ? "" : "s", byte_text(layout.pack_bytes), layout.loose_objects);
  if (layout.core_present) text += fmt::format("; core pack of {}", layout.core_objects);
  if (layout.cruft_objects > 0) {
    text +=
        fmt::format("; {} unreachable ({})", layout.cruft_objects, byte_text(layout.cruft_bytes));
  }
  if (layout.kept_packs > 0) text += fmt::format("; {} kept", layout.kept_packs);
  switch (layout.bitmap) {
    case BitmapKind::none:
      text += "; no bitmap";
      break;
    case BitmapKind::pack:
      text += "; bitmap of one pack";
      break;
    case BitmapKind::multi_pack:
      text += "; bitmap of all packs";
      break;
  }
  text += !layout.commit_graph         ? "; no commit-graph"
          : layout.commit_graph_behind ? "; commit-graph, behind"
                                       : "; commit-graph";
  return text;
}

}  // namespace weir::git
