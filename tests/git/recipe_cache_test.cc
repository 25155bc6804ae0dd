#include "git/recipe_cache.h"

#include "tests/git/plan_fixture.h"

namespace weir::git {
namespace {

class RecipeCacheTest : public PlanFixture {
 protected:
  void remember(const PlanRequest& request, const Planned& reply,
                const std::string& name = "tenant/a", std::uint8_t number = 1) {
    cache.remember(keys(request, "digest", number), repository(name, number), reply);
  }
  // What the kept reply was made with, or 0.
  std::uint64_t found(const PlanRequest& request, std::string_view digest = "digest",
                      std::uint8_t number = 1) {
    const std::optional<Planned> known = cache.find(keys(request, digest, number));
    return known ? known->reply->cpu_us : 0;
  }
  static PlanRequest want(std::uint64_t number) { return {.wants = {object(number)}}; }

  static constexpr std::size_t kBytes = 1024 * 1024;
  static constexpr std::size_t kShare = kBytes / kRecipeCacheTenantPart;
  RecipeCache cache{loop, kBytes};
};

TEST_F(RecipeCacheTest, the_order_of_ids_and_repeats_say_nothing) {
  const std::vector<ObjectId> some = {object(1), object(2), object(3)};
  const std::vector<ObjectId> turned = {object(3), object(1), object(2), object(1)};
  const PlanKeys one = keys({.wants = some, .haves = some, .shallows = some});
  const PlanKeys other = keys({.wants = turned, .haves = turned, .shallows = turned});
  EXPECT_EQ(one.asked, other.asked);
  EXPECT_EQ(one.seen, other.seen);
}

TEST_F(RecipeCacheTest, whatever_changes_the_answer_is_in_the_key) {
  const PlanRequest plain = want(1);
  std::vector<PlanRequest> different(14, plain);
  different[0].wants = {object(2)};
  different[1].wants.push_back(object(2));
  different[2].haves = {object(2)};
  different[3].shallows = {object(2)};
  different[4].depth = 1;
  different[5].filter.no_blobs = true;
  different[6].filter.blob_bytes_limit = 1;
  different[7].filter.tree_depth_limit = 0;
  different[8].filter.types = 1;
  different[9].done = false;
  different[10].wait_for_done = true;
  different[11].thin_pack = true;
  different[12].ofs_delta = true;
  different[13].include_tag = true;
  std::vector<io::Sha256Digest> made = {keys(plain).asked, keys(plain).seen};
  for (const PlanRequest& request : different) made.push_back(keys(request).asked);
  PlanRequest level = plain;
  level.level = PlanLevel::cheapest;
  made.push_back(keys(level).asked);
  made.push_back(keys(plain, "digest", 2).asked);
  made.push_back(plan_keys(repository("").id, ObjectFormat::sha256, plain, "digest").asked);
  made.push_back(keys(plain, "other").seen);
  std::ranges::sort(made);
  EXPECT_EQ(std::ranges::adjacent_find(made), made.end());
  PlanRequest patient = plain;
  patient.time_ms_max = 5;  // how long it may take is not what it is
  EXPECT_EQ(keys(patient).asked, keys(plain).asked);
}

TEST_F(RecipeCacheTest, a_clone_is_served_whatever_became_of_the_refs) {
  remember(want(1), planned(7));
  EXPECT_EQ(found(want(1)), 7U);
  EXPECT_EQ(found(want(1), "other"), 7U);
  EXPECT_EQ(found(want(2)), 0U);
  EXPECT_EQ(found(want(1), "digest", 2), 0U);  // another repository
}

TEST_F(RecipeCacheTest, what_depends_on_what_may_be_seen_is_kept_for_those_who_see_the_same) {
  const PlanRequest tags = {.wants = {object(1)}, .include_tag = true};
  const PlanRequest haves = {.wants = {object(1)}, .haves = {object(2)}};
  const PlanRequest shallows = {.wants = {object(1)}, .shallows = {object(2)}};
  for (const PlanRequest& request : {tags, haves, shallows}) {
    remember(request, planned(7));
    EXPECT_EQ(found(request), 7U);
    EXPECT_EQ(found(request, "other"), 0U);
  }
  // Only the planner knows whether blobs beyond the request went along.
  remember(want(3), planned(7, 0, 1));
  EXPECT_EQ(found(want(3)), 7U);
  EXPECT_EQ(found(want(3), "other"), 0U);
}

TEST_F(RecipeCacheTest, failures_are_remembered_for_a_second_and_only_for_those_who_see_the_same) {
  const Planned reply = failed(PlanStatus::fallback, FallbackReason::layout);
  const PlanKeys asked = keys(want(1));
  cache.remember(asked, repository("tenant/a"), reply);
  EXPECT_EQ(cache.find(asked)->reply, reply.reply);
  EXPECT_FALSE(cache.find(keys(want(1), "other")));
  EXPECT_EQ(cache.entries(), 0U);
  pass(kFailureRemembered * 3 / 4 - 1ms);
  EXPECT_TRUE(cache.find(asked));
  pass(kFailureRemembered / 2 + 1ms);
  EXPECT_FALSE(cache.find(asked));
}

TEST_F(RecipeCacheTest, failures_remembered_are_bounded) {
  for (std::uint64_t i = 0; i < 2 * kFailuresMax; ++i) {
    remember(want(i), failed(PlanStatus::missing));
  }
  std::size_t known = 0;
  for (std::uint64_t i = 0; i < 2 * kFailuresMax; ++i) known += cache.find(keys(want(i))) ? 1 : 0;
  EXPECT_EQ(known, kFailuresMax);
  EXPECT_TRUE(cache.find(keys(want(2 * kFailuresMax - 1))));
}

TEST_F(RecipeCacheTest, a_success_after_a_failure_counts) {
  remember(want(1), failed(PlanStatus::missing));
  remember(want(1), planned(7));
  EXPECT_EQ(found(want(1)), 7U);
}

TEST_F(RecipeCacheTest, never_holds_more_than_its_bytes) {
  for (std::uint64_t i = 0; i < 400; ++i) {
    remember(want(i), planned(i + 1, 10'000), "tenant" + std::to_string(i % 8) + "/a");
    ASSERT_LE(cache.bytes(), kBytes);
  }
  EXPECT_GT(cache.bytes(), kBytes / 2);
}

TEST_F(RecipeCacheTest, a_tenant_has_at_most_a_quarter_and_pushes_out_only_its_own) {
  for (std::uint64_t i = 0; i < 10; ++i) remember(want(i), planned(i + 1, 10'000), "small/a");
  for (std::uint64_t i = 100; i < 200; ++i) {
    remember(want(i), planned(i + 1, 10'000), "greedy/" + std::to_string(i));
    ASSERT_LE(cache.tenant_bytes("greedy"), kShare);
  }
  EXPECT_GT(cache.tenant_bytes("greedy"), kShare / 2);
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(found(want(i)), i + 1);
  EXPECT_EQ(found(want(100)), 0U);    // its oldest left
  EXPECT_EQ(found(want(199)), 200U);  // for its newest
}

TEST_F(RecipeCacheTest, what_is_asked_for_again_and_again_outlives_a_crowd_asked_for_once) {
  remember(want(1), planned(1, 10'000), "popular/a");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(found(want(1)), 1U);
  for (std::uint64_t i = 100; i < 1000; ++i) {
    EXPECT_EQ(found(want(i)), 0U);
    remember(want(i), planned(i, 10'000), "tenant" + std::to_string(i % 16) + "/a");
  }
  EXPECT_EQ(found(want(1)), 1U);
}

TEST_F(RecipeCacheTest, a_newcomer_is_kept_for_its_herd_though_the_cache_is_full_of_popular_ones) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    remember(want(i), planned(i + 1, 10'000), "tenant" + std::to_string(i % 8) + "/a");
    for (int asked = 0; asked < 12; ++asked) found(want(i));
  }
  EXPECT_EQ(found(want(1000)), 0U);
  remember(want(1000), planned(1001, 10'000), "new/a");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(found(want(1000)), 1001U);
}

TEST_F(RecipeCacheTest, a_large_reply_takes_the_place_of_others_only_if_it_is_asked_for_more) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    remember(want(i), planned(i + 1, 10'000), "tenant" + std::to_string(i % 8) + "/a");
    found(want(i));
    found(want(i));
  }
  const std::size_t full = cache.bytes();
  const Planned large = planned(1001, kShare - 2000);
  found(want(1000));
  remember(want(1000), large, "new/a");
  EXPECT_EQ(cache.tenant_bytes("new"), 0U);
  EXPECT_EQ(cache.bytes(), full);
  for (int i = 0; i < 5; ++i) found(want(1000));
  remember(want(1000), large, "new/a");
  EXPECT_EQ(found(want(1000)), 1001U);
  EXPECT_LE(cache.bytes(), kBytes);
}

TEST_F(RecipeCacheTest, a_reply_beyond_a_tenants_share_is_not_kept) {
  remember(want(1), planned(1, 100));
  remember(want(2), planned(2, kShare));
  EXPECT_EQ(found(want(2)), 0U);
  EXPECT_EQ(found(want(1)), 1U);
}

TEST_F(RecipeCacheTest, what_was_made_from_older_files_goes_a_minute_after_newer_were_opened) {
  write_pack('a', 1000);
  remember(want(1), planned(1));  // no pack yet
  open_files();
  remember(want(2), planned(2));
  EXPECT_EQ(found(want(1)), 1U);  // an old set is not wrong
  pass(kOldFilesGrace - 1s);
  EXPECT_EQ(found(want(1)), 1U);
  pass(2s);
  EXPECT_EQ(found(want(1)), 0U);
  EXPECT_EQ(found(want(2)), 2U);
  pass(10 * kOldFilesGrace);
  EXPECT_EQ(found(want(2)), 2U);
}

TEST_F(RecipeCacheTest, deleted_packs_are_let_go_of_though_nothing_new_is_planned) {
  write_pack('a', 1000);
  open_files();
  remember(want(1), planned(1));
  const std::weak_ptr<const RepositoryFiles> old = files;
  std::filesystem::remove(scratch.path() + "/objects/pack/pack-" + std::string(40, 'a') + ".pack");
  std::filesystem::remove(scratch.path() + "/objects/pack/pack-" + std::string(40, 'a') + ".idx");
  write_pack('b', 2000);
  open_files();
  cache.files_changed(repository("tenant/a").id, files.get());
  EXPECT_EQ(cache.old_files_bytes(), 1000U + std::string("index").size());
  pass(kOldFilesGrace + 1s);
  EXPECT_EQ(cache.old_files_bytes(), 0U);
  EXPECT_EQ(cache.entries(), 0U);
  EXPECT_TRUE(old.expired());
}

TEST_F(RecipeCacheTest, a_plan_that_was_made_while_newer_files_were_opened_goes_with_the_older) {
  remember(want(1), planned(1));
  const Planned late = planned(2);
  write_pack('a', 1000);
  open_files();
  cache.files_changed(repository("tenant/a").id, files.get());
  pass(kOldFilesGrace / 2);
  remember(want(2), late);
  remember(want(3), planned(3));
  pass(kOldFilesGrace + 1s);
  EXPECT_EQ(found(want(2)), 0U);
  EXPECT_EQ(found(want(3)), 3U);
}

TEST_F(RecipeCacheTest, files_of_another_repository_change_nothing) {
  remember(want(1), planned(1));
  write_pack('a', 1000);
  open_files();
  cache.files_changed(repository("tenant/b", 2).id, files.get());
  pass(kOldFilesGrace + 1s);
  EXPECT_EQ(found(want(1)), 1U);
}

TEST_F(RecipeCacheTest, nothing_of_a_repository_is_held_that_is_not_held_open) {
  remember(want(1), planned(1));
  remember(want(1), planned(2), "tenant/b", 2);
  cache.files_changed(repository("tenant/a").id, nullptr);
  EXPECT_EQ(found(want(1)), 0U);
  EXPECT_EQ(found(want(1), "digest", 2), 2U);
}

}  // namespace
}  // namespace weir::git
