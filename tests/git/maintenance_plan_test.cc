#include "git/maintenance_plan.h"

#include <gtest/gtest.h>

#include <functional>

#include "git/maintenance.h"

namespace weir::git {
namespace {

constexpr std::int64_t kDayS = 86'400;

// Of 10,000 objects, maintained three days ago, nothing has come since.
RepositoryLayout maintained() {
  RepositoryLayout layout;
  layout.packs = 1;
  layout.pack_bytes = 4 << 20;
  layout.packed_objects = layout.core_objects = layout.bitmapped_objects = 10'000;
  layout.core_present = layout.core_branch_is_head = true;
  layout.core_age_s = layout.bitmap_age_s = 3 * kDayS;
  layout.bitmap = BitmapKind::pack;
  layout.commit_graph = true;
  layout.head_branch = "refs/heads/main";
  return layout;
}

// A push of `objects` that came as a pack.
void receive(RepositoryLayout& layout, std::uint64_t objects) {
  ++layout.packs;
  ++layout.recent_packs;
  layout.packed_objects += objects;
  layout.commit_graph_behind = true;
}

std::string steps_of(const RepositoryLayout& layout) {
  std::string text;
  for (const PlannedStep& planned : plan_maintenance(layout).steps) {
    EXPECT_FALSE(planned.reason.empty());
    text += (text.empty() ? "" : " ") + std::string(to_string(planned.step));
  }
  return text;
}

struct Case {
  const char* name;
  std::function<void(RepositoryLayout&)> change;
  const char* steps;
};

const Case kCases[] = {
    {"maintained", [](auto&) {}, ""},
    {"empty", [](auto& l) { l = {}; }, ""},
    {"small, never maintained",
     [](auto& l) {
       l = {};
       l.packs = l.recent_packs = 1;
       l.packed_objects = 255;
     },
     ""},
    {"small, many packs",
     [](auto& l) {
       l = {};
       l.packs = l.recent_packs = 8;
       l.packed_objects = 200;
     },
     "roll-up"},
    {"never maintained",
     [](auto& l) {
       l = {};
       l.packs = l.recent_packs = 1;
       l.packed_objects = 256;
     },
     "core commit-graph"},
    {"all loose",
     [](auto& l) {
       l = {};
       l.loose_objects = 300;
     },
     "core commit-graph"},
    {"the note of the core is lost", [](auto& l) { l.core_present = false; }, "core commit-graph"},

    {"few loose objects", [](auto& l) { l.loose_objects = 255; }, ""},
    {"many loose objects", [](auto& l) { l.loose_objects = 256; }, "roll-up commit-graph"},
    {"a push", [](auto& l) { receive(l, 90); }, ""},
    {"seven pushes",
     [](auto& l) {
       for (int i = 0; i < 7; ++i) receive(l, 10);
     },
     ""},
    {"eight pushes",
     [](auto& l) {
       for (int i = 0; i < 8; ++i) receive(l, 10);
     },
     "roll-up commit-graph"},
    {"a push beyond a hundredth", [](auto& l) { receive(l, 300); }, "roll-up commit-graph"},
    {"a hundredth that is small",
     [](auto& l) {
       l.packed_objects = l.core_objects = l.bitmapped_objects = 1'000;
       receive(l, 200);
     },
     ""},
    {"many objects that are less than a hundredth",
     [](auto& l) {
       l.packed_objects = l.core_objects = l.bitmapped_objects = 1'000'000;
       receive(l, 9'000);
     },
     ""},
    {"rolled up",
     [](auto& l) {
       receive(l, 2'000);
       l.bitmap = BitmapKind::multi_pack;
       l.bitmapped_objects = 12'000;
       l.recent_packs = 0;
     },
     ""},
    {"no bitmap",
     [](auto& l) {
       l.bitmap = BitmapKind::none;
       l.bitmapped_objects = 0;
       l.recent_packs = 1;
     },
     "roll-up commit-graph"},
    {"no commit-graph", [](auto& l) { l.commit_graph = false; }, "commit-graph"},

    {"half as much beside the core", [](auto& l) { receive(l, 5'001); }, "core commit-graph"},
    {"the same, a day has not gone by",
     [](auto& l) {
       receive(l, 5'001);
       l.core_age_s = kDayS - 1;
     },
     "roll-up commit-graph"},
    {"another default branch", [](auto& l) { l.core_branch_is_head = false; }, "core commit-graph"},
    {"young cruft",
     [](auto& l) {
       l.cruft_objects = 10;
       l.cruft_age_s = 14 * kDayS - 1;
       l.core_age_s = 13 * kDayS;
     },
     ""},
    {"cruft that may go",
     [](auto& l) {
       l.cruft_objects = 10;
       l.cruft_age_s = 14 * kDayS;
       l.core_age_s = 14 * kDayS;
     },
     "core commit-graph"},
    {"old, and nothing has come", [](auto& l) { l.core_age_s = 90 * kDayS; }, ""},
    {"old, and little has come",
     [](auto& l) {
       l.core_age_s = 30 * kDayS;
       receive(l, 1);
     },
     "core commit-graph"},

    {"borrows: no bitmap is wanted",
     [](auto& l) {
       l.borrows = true;
       l.bitmap = BitmapKind::none;
       l.bitmapped_objects = 0;
     },
     ""},
    {"borrows, many loose objects",
     [](auto& l) {
       l.borrows = true;
       l.loose_objects = 1'000;
     },
     "roll-up commit-graph"},
    {"shallow: neither bitmap nor commit-graph",
     [](auto& l) {
       l.shallow = true;
       l.bitmap = BitmapKind::none;
       l.bitmapped_objects = 0;
       l.commit_graph = false;
     },
     ""},
};

TEST(MaintenancePlan, does_what_the_layout_asks_for) {
  for (const Case& each : kCases) {
    RepositoryLayout layout = maintained();
    each.change(layout);
    EXPECT_EQ(steps_of(layout), each.steps) << each.name;
  }
}

TEST(MaintenancePlan, leaves_a_partial_clone_alone_and_says_so) {
  RepositoryLayout layout;
  layout.packed_objects = 10'000;
  layout.partial = true;
  const MaintenancePlan plan = plan_maintenance(layout);
  EXPECT_TRUE(plan.steps.empty());
  EXPECT_NE(plan.obstacle, "");
}

TEST(MaintenancePlan, has_nothing_to_say_about_a_repository_that_is_fast) {
  EXPECT_TRUE(plan_maintenance(maintained()).slowed_by.empty());
}

TEST(MaintenancePlan, says_why_a_clone_is_slow_and_what_mends_it) {
  RepositoryLayout layout;
  layout.packs = layout.recent_packs = 5;
  layout.packed_objects = 10'000;
  layout.loose_objects = 300;
  std::string all;
  for (const std::string& line : plan_maintenance(layout).slowed_by) all += line + "\n";
  for (const char* part : {"300 loose objects", "no bitmap", "no pack is laid out", "5 packs",
                           "no commit-graph", "a roll-up packs them", "a core pack fixes it"}) {
    EXPECT_NE(all.find(part), all.npos) << part << " is not in:\n" << all;
  }
}

TEST(MaintenancePlan, describes_a_layout_in_a_line) {
  RepositoryLayout layout = maintained();
  layout.cruft_objects = 7;
  layout.cruft_bytes = 2048;
  EXPECT_EQ(describe(layout),
            "10000 objects in 1 pack (4.0 MiB), 0 loose; core pack of 10000; 7 unreachable "
            "(2.0 KiB); bitmap of one pack; commit-graph");
}

TEST(Maintenance, knows_where_a_power_cut_could_take_what_git_replaces) {
  for (const std::uint64_t ordered : {0xef53UL, 0x58465342UL, 0x9123683eUL, 0x01021994UL}) {
    EXPECT_TRUE(keeps_order_of_names(ordered)) << std::hex << ordered;
  }
  // NFS, FUSE, SMB, none.
  for (const std::uint64_t other : {0x6969UL, 0x65735546UL, 0xff534d42UL, 0UL}) {
    EXPECT_FALSE(keeps_order_of_names(other)) << std::hex << other;
  }
}

}  // namespace
}  // namespace weir::git
