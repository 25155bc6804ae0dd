#include "git/native_fetch.h"

#include <fcntl.h>

#include <chrono>
#include <functional>

#include "git/plan_source.h"
#include "git/recipe_answer.h"
#include "io/metrics.h"
#include "tests/git/service_fixture.h"

namespace weir::git {
namespace {

using std::string_literals::operator""s;

FetchRequest clone_request() {
  FetchRequest fetch;
  fetch.wants = {*ObjectId::from_hex(kIdA)};
  fetch.done = true;
  return fetch;
}

TEST(PlanRequest, a_clone_is_planned_as_it_was_asked) {
  FetchRequest fetch = clone_request();
  fetch.thin_pack = fetch.ofs_delta = fetch.include_tag = true;
  for (const int version : {0, 1, 2}) {
    const auto request = plan_request(fetch, version);
    ASSERT_TRUE(request.has_value());
    EXPECT_EQ(request->wants, fetch.wants);
    EXPECT_TRUE(request->thin_pack && request->ofs_delta && request->include_tag);
    EXPECT_TRUE(request->filter.none());
  }
  fetch.done = false;  // version 2 does not wait for it where there is nothing to negotiate
  EXPECT_TRUE(plan_request(fetch, 2).has_value());
}

TEST(PlanRequest, what_a_client_has_and_how_deep_it_is_are_planned_for) {
  FetchRequest fetch = clone_request();
  fetch.haves = {*ObjectId::from_hex(kIdB)};
  fetch.shallows = fetch.haves;
  fetch.deepen = 3;
  fetch.done = false;
  const auto request = plan_request(fetch, 2);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->haves, fetch.haves);
  EXPECT_EQ(request->shallows, fetch.shallows);
  EXPECT_EQ(request->depth, 3U);
  EXPECT_FALSE(request->done);
  fetch.deepen = kDepthMax;  // as a client unshallows
  fetch.deepen_relative = true;
  EXPECT_EQ(plan_request(fetch, 2)->depth, kWholeHistory);
}

TEST(PlanRequest, the_rest_goes_to_git_with_a_reason) {
  const auto reason_of = [](const std::function<void(FetchRequest&)>& change, int version) {
    FetchRequest fetch = clone_request();
    change(fetch);
    const auto request = plan_request(fetch, version);
    return request ? "planned" : std::string(reason_name(request.error()));
  };
  const ObjectId id = *ObjectId::from_hex(kIdB);
  for (const int version : {0, 1}) {  // what is said in rounds
    EXPECT_EQ(reason_of([](FetchRequest& f) { f.done = false; }, version), "negotiation");
    EXPECT_EQ(reason_of([&](FetchRequest& f) { f.haves = {id}; }, version), "negotiation");
  }
  for (const int version : {0, 2}) {
    EXPECT_EQ(reason_of([](FetchRequest& f) { f.wants.clear(); }, version), "negotiation");
    EXPECT_EQ(reason_of(
                  [](FetchRequest& f) {
                    f.deepen = 1;
                    f.deepen_relative = true;
                  },
                  version),
              "shallow");
    EXPECT_EQ(reason_of([](FetchRequest& f) { f.deepen_since = 0; }, version), "shallow");
    EXPECT_EQ(reason_of([](FetchRequest& f) { f.deepen_not = {"x"}; }, version), "shallow");
    EXPECT_EQ(reason_of([](FetchRequest& f) { f.filter = "tree:1"; }, version), "filter");
  }
  EXPECT_EQ(reason_of(
                [](FetchRequest& f) {
                  f.done = false;
                  f.wait_for_done = true;
                },
                2),
            "negotiation");
}

TEST(ObjectFilters, are_read_as_git_reads_them) {
  const auto none = [] { return ObjectFilter{}; };
  ObjectFilter expected = none();
  expected.no_blobs = true;
  EXPECT_EQ(parse_object_filter("blob:none"), expected);
  for (const auto& [text, bytes] : std::vector<std::pair<std::string, std::uint64_t>>{
           {"0", 0}, {"1", 1}, {"10k", 10240}, {"3M", 3UL << 20}, {"1g", 1UL << 30}}) {
    expected = none();
    expected.blob_bytes_limit = bytes;
    EXPECT_EQ(parse_object_filter("blob:limit=" + text), expected) << text;
  }
  expected = none();
  expected.tree_depth_limit = 0;
  EXPECT_EQ(parse_object_filter("tree:0"), expected);
  expected = none();
  expected.types = 1U << static_cast<unsigned>(ObjectType::tag);
  EXPECT_EQ(parse_object_filter("object:type=tag"), expected);
  expected = none();
  expected.blob_bytes_limit = 5;
  expected.types = 1U << static_cast<unsigned>(ObjectType::blob);
  EXPECT_EQ(parse_object_filter("combine:blob:limit=9+object:type=blob+blob:limit=5"), expected);
}

TEST(ObjectFilters, what_plans_do_not_know_is_none) {
  for (const char* const filter : {"",
                                   "blob:non",
                                   "blob:none ",
                                   "blob:limit=",
                                   "blob:limit=k",
                                   "blob:limit=010",
                                   "blob:limit=0x10",
                                   "blob:limit=-1",
                                   "blob:limit=+1",
                                   "blob:limit= 1",
                                   "blob:limit=1kk",
                                   "blob:limit=1t",
                                   "blob:limit=18446744073709551616",
                                   "blob:limit=18446744073709551615k",
                                   "tree:",
                                   "tree:1",
                                   "tree:00",
                                   "object:type=",
                                   "object:type=Blob",
                                   "object:type=blobs",
                                   "sparse:oid=main:x",
                                   "combine:",
                                   "combine:blob:none+",
                                   "combine:+blob:none",
                                   "combine:blob:none+tree:2",
                                   "combine:blob%3anone",
                                   "combine:object:type=blob+object:type=tree",
                                   "combine:combine:blob:none"}) {
    EXPECT_FALSE(parse_object_filter(filter).has_value()) << filter;
  }
}

// Answers with what the test prepared; waits for `gate` before, if there is one.
struct FakePlans final : PlanSource {
  io::Task<io::Result<Planned>> plan(std::shared_ptr<const Repository>,
                                     std::shared_ptr<const RefSnapshot>, PlanRequest request,
                                     io::StopToken stop, io::Deadline deadline) override {
    ++asked;
    last = std::move(request);
    if (gate != nullptr) {
      const io::Result<void> waited = co_await gate->wait(stop, deadline);
      if (!waited) co_return std::unexpected(waited.error());
    }
    if (error) co_return io::fail(*error, "fake plans");
    co_return Planned{reply, files};
  }

  std::shared_ptr<PlanReply> reply = std::make_shared<PlanReply>();
  std::shared_ptr<const RepositoryFiles> files;
  std::optional<io::Errc> error;
  io::Signal* gate = nullptr;
  int asked = 0;
  PlanRequest last;
};

class NativeFetchTest : public ServiceTest {
 protected:
  NativeFetchTest() {
    const std::string blob = repository.git("hash-object -w --stdin", "some content\n");
    const std::string tree = repository.git("mktree", "100644 blob " + blob + "\tfile\n");
    tip = repository.git("commit-tree " + tree + " -m first");
    repository.git("update-ref refs/heads/main " + tip);
    pack = repository.git("pack-objects --revs --stdout -q", tip + "\n");
    environment.planners = &plans;
    environment.plan_metrics = &metrics;
    environment.limits.keepalive = std::chrono::seconds(60);
    plan_pack();
  }
  // The plan is git's own pack, in literal bytes.
  void plan_pack() {
    RecipeBuilder builder(ObjectFormat::sha1);
    builder.add_literal(io::as_bytes(std::string_view(pack).substr(12, pack.size() - 32)));
    plans.reply->status = PlanStatus::planned;
    plans.reply->recipe = builder.finish({.objects = 3, .reused = 3}, std::nullopt);
  }
  void fall_back(PlanStatus status, FallbackReason reason = FallbackReason::none) {
    plans.reply->status = status;
    plans.reply->reason = reason;
    plans.reply->problem = "so it is";
  }
  std::string clone_v2() {
    return pkts({"command=fetch", "object-format=sha1", "0001", "ofs-delta", "want " + tip, "done",
                 "0000"});
  }
  std::string again(const std::string& request, int version = 2) {
    body.at = 0;
    answer.text.clear();
    answer.announced.reset();
    return fetch(request, version);
  }
  std::int64_t counted(const std::string& result) {
    return io::Metrics::instance().value("weir_fetch_plans", "result=\"" + result + "\"");
  }

  std::string tip, pack;
  FakePlans plans;
  FetchPlanMetrics metrics;
};

TEST_F(NativeFetchTest, a_v2_clone_needs_no_git) {
  environment.git_path = "/nonexistent";
  const std::int64_t before = counted("planned");
  const Unpacked answered = unpack(fetch(clone_v2()));
  EXPECT_EQ(answered.sections, std::vector<std::string>{"packfile"});
  EXPECT_TRUE(answered.bands[1] == pack);
  EXPECT_EQ(answered.bands[2],
            "Enumerating objects: 3, done.\n"
            "Total 3 (delta 0), reused 3 (delta 0), pack-reused 0\n");
  EXPECT_TRUE(answered.whole && answered.flushed);
  EXPECT_EQ(answer.announced, answer.text.size());
  EXPECT_EQ(outcome.ended, Ended::completed);
  EXPECT_EQ(outcome.plan, "planned");
  EXPECT_EQ(outcome.operation, "clone");
  EXPECT_EQ(counted("planned"), before + 1);
  EXPECT_TRUE(plans.last.ofs_delta);
  EXPECT_FALSE(plans.last.thin_pack);
  EXPECT_EQ(plans.last.time_ms_max, 10'000U);
}

TEST_F(NativeFetchTest, haves_that_say_too_little_are_acknowledged_and_more_asked_for) {
  environment.git_path = "/nonexistent";
  plans.reply->status = PlanStatus::negotiating;
  const std::string request = pkts({"command=fetch", "object-format=sha1", "0001", "want " + tip,
                                    "have "s + kIdA, "have "s + kIdB, "0000"});
  EXPECT_EQ(fetch(request), pkts({"acknowledgments\n", "NAK\n", "0000"}));
  plans.reply->common = {*ObjectId::from_hex(kIdB)};
  EXPECT_EQ(again(request), pkts({"acknowledgments\n", "ACK "s + kIdB + "\n", "0000"}));
  EXPECT_EQ(answer.announced, answer.text.size());
  EXPECT_EQ(outcome.plan, "planned");
  EXPECT_FALSE(plans.last.done);
}

TEST_F(NativeFetchTest, thousands_that_are_common_are_all_acknowledged) {
  environment.git_path = "/nonexistent";
  plans.reply->status = PlanStatus::negotiating;
  std::string expected = pkts({"acknowledgments\n"});
  for (std::uint32_t i = 0; i < 10'000; ++i) {
    ObjectId id = ObjectId::from_hex(kIdA).value();
    id.hash[0] = static_cast<std::uint8_t>(i);
    id.hash[1] = static_cast<std::uint8_t>(i >> 8);
    plans.reply->common.push_back(id);
    expected += pkts({"ACK " + id.to_hex() + "\n"});
  }
  const std::string request =
      pkts({"command=fetch", "object-format=sha1", "0001", "want " + tip, "have "s + kIdA, "0000"});
  EXPECT_TRUE(fetch(request) == expected + pkts({"0000"}));
}

TEST_F(NativeFetchTest, what_is_common_and_what_is_shallow_come_before_the_pack) {
  environment.git_path = "/nonexistent";
  plans.reply->common = {*ObjectId::from_hex(kIdA)};
  plans.reply->ready = true;
  plans.reply->shallow = {*ObjectId::from_hex(kIdB)};
  plans.reply->unshallow = {*ObjectId::from_hex(kIdA)};
  const std::string request = pkts({"command=fetch", "object-format=sha1", "0001", "want " + tip,
                                    "have "s + kIdA, "shallow "s + kIdA, "deepen 2", "0000"});
  const std::string head =
      pkts({"acknowledgments\n", "ACK "s + kIdA + "\n", "ready\n", "0001", "shallow-info\n",
            "shallow "s + kIdB, "unshallow "s + kIdA, "0001", "packfile\n"});
  EXPECT_TRUE(fetch(request).starts_with(head));
  EXPECT_EQ(answer.announced, answer.text.size());
  // Version 0 says what is shallow at once, and its NAK before the pack.
  plans.reply->common.clear();
  const std::string older = again(
      pkts({"want " + tip + " side-band-64k", "shallow "s + kIdA, "deepen 2", "0000", "done"}), 0);
  EXPECT_TRUE(older.starts_with(pkts({"shallow "s + kIdB, "unshallow "s + kIdA, "0000", "NAK\n"})));
}

TEST_F(NativeFetchTest, older_versions_and_their_sidebands) {
  environment.git_path = "/nonexistent";
  for (const int version : {0, 1}) {
    for (const std::string& sideband : {" side-band-64k"s, " side-band"s}) {
      const Unpacked answered = unpack(again(
          pkts({"want " + tip + sideband + " no-progress ofs-delta", "0000", "done"}), version));
      EXPECT_EQ(answered.sections, std::vector<std::string>{"NAK"});
      EXPECT_TRUE(answered.bands[1] == pack);
      EXPECT_EQ(answered.bands[2], "");
      EXPECT_TRUE(answered.whole && answered.flushed);
      EXPECT_EQ(answer.announced, answer.text.size());
    }
    EXPECT_EQ(again(pkts({"want " + tip, "0000", "done"}), version), "0008NAK\n" + pack);
    EXPECT_EQ(answer.announced, answer.text.size());
    EXPECT_EQ(outcome.plan, "planned");
  }
}

TEST_F(NativeFetchTest, what_is_not_planned_is_gits_and_counted_by_reason) {
  struct Row {
    PlanStatus status;
    FallbackReason reason;
    std::string label;
  };
  for (const Row& row : std::vector<Row>{
           {PlanStatus::fallback, FallbackReason::layout, "layout"},
           {PlanStatus::fallback, FallbackReason::budget, "budget"},
           {PlanStatus::fallback, FallbackReason::none, "planner"},
           {PlanStatus::missing, FallbackReason::none, "corrupt"},
           {PlanStatus::failed, FallbackReason::none, "planner"},
       }) {
    fall_back(row.status, row.reason);
    const std::int64_t before = counted(row.label);
    EXPECT_TRUE(unpack(again(clone_v2())).flushed);
    EXPECT_GT(outcome.child_rss_bytes_max, 0U);
    EXPECT_TRUE(outcome.plan.starts_with(row.label)) << outcome.plan;
    EXPECT_EQ(counted(row.label), before + 1);
  }
  EXPECT_EQ(outcome.plan, "planner: so it is");
}

// What a planner says has to fit what was asked: acknowledgments are no answer to a clone, and a
// client that is not told that we are ready expects no pack.
TEST_F(NativeFetchTest, a_reply_that_does_not_fit_the_request_is_not_believed) {
  fall_back(PlanStatus::negotiating);
  EXPECT_TRUE(unpack(again(clone_v2())).flushed);
  EXPECT_EQ(unpack(answer.text).sections, std::vector<std::string>{"packfile"});
  EXPECT_EQ(outcome.plan, "planner: so it is");
  (void)again(pkts({"want " + tip + " side-band-64k", "0000", "done"}), 0);
  EXPECT_EQ(unpack(answer.text).sections, std::vector<std::string>{"NAK"});
  EXPECT_EQ(outcome.plan, "planner: so it is");
  const std::string have = "have " + kIdA;
  (void)again(pkts({"command=fetch", "0001", "want " + tip, have, "done", "0000"}));
  EXPECT_EQ(unpack(answer.text).sections, std::vector<std::string>{"packfile"});
  fall_back(PlanStatus::planned);
  (void)again(pkts({"command=fetch", "0001", "want " + tip, have, "0000"}));
  EXPECT_EQ(answer.text, pkts({"acknowledgments\n", "NAK\n", "0000"}));  // git's
  EXPECT_EQ(outcome.plan, "planner: so it is");
  plans.reply->ready = true;
  (void)again(pkts({"command=fetch", "0001", "wait-for-done", "want " + tip, have, "0000"}));
  EXPECT_EQ(answer.text, pkts({"acknowledgments\n", "NAK\n", "0000"}));
  EXPECT_EQ(outcome.plan, "planner: so it is");
}

TEST_F(NativeFetchTest, plans_that_do_not_come_are_gits) {
  for (const auto& [error, label] :
       {std::pair{io::Errc::deadline_exceeded, "budget"}, std::pair{io::Errc::limit, "planner"},
        std::pair{io::Errc::unavailable, "planner"}}) {
    plans.error = error;
    EXPECT_TRUE(unpack(again(clone_v2())).flushed);
    EXPECT_TRUE(outcome.plan.starts_with(label)) << outcome.plan;
  }
  environment.planners = nullptr;
  EXPECT_TRUE(unpack(again(clone_v2())).flushed);
  EXPECT_EQ(outcome.plan, "planner");
  EXPECT_EQ(outcome.ended, Ended::completed);
}

TEST_F(NativeFetchTest, nobody_plans_what_is_refused_or_no_fetch) {
  EXPECT_NE(again(pkts({"command=fetch", "0001", "want " + kIdA, "done", "0000"})).find("not our"),
            std::string::npos);
  (void)again(pkts({"command=ls-refs", "0001", "0000"}));
  (void)again(pkts({"command=object-info", "0001", "size", "oid " + tip, "0000"}));
  EXPECT_EQ(plans.asked, 0);
  EXPECT_EQ(outcome.plan, "");
}

TEST_F(NativeFetchTest, a_plan_that_takes_long_is_bridged_with_keepalives) {
  io::Signal gate;
  plans.gate = &gate;
  environment.limits.keepalive = std::chrono::milliseconds(2);
  answer.on_write = [&](const std::string& text) {
    if (unpack(text).keepalives == 3) gate.notify();
  };
  const Unpacked answered = unpack(fetch(clone_v2()));
  EXPECT_EQ(answered.sections, std::vector<std::string>{"packfile"});
  EXPECT_GE(answered.keepalives, 3U);
  EXPECT_TRUE(answered.bands[1] == pack);
  EXPECT_TRUE(answered.whole && answered.flushed);
  EXPECT_FALSE(answer.announced);  // nobody knew
  EXPECT_EQ(outcome.plan, "planned");
}

TEST_F(NativeFetchTest, git_goes_on_where_keepalives_have_begun) {
  fall_back(PlanStatus::fallback, FallbackReason::layout);
  for (const int version : {2, 0}) {
    io::Signal gate;
    plans.gate = &gate;
    environment.limits.keepalive = std::chrono::milliseconds(2);
    answer.on_write = [&](const std::string& text) {
      if (unpack(text).keepalives == 1) {
        environment.limits.keepalive = std::chrono::seconds(60);
        gate.notify();
      }
    };
    const Unpacked answered = unpack(
        again(version == 2 ? clone_v2() : pkts({"want " + tip + " side-band-64k", "0000", "done"}),
              version));
    EXPECT_EQ(answered.sections, std::vector<std::string>{version == 2 ? "packfile" : "NAK"});
    EXPECT_TRUE(answered.bands[1].starts_with("PACK"));
    EXPECT_TRUE(answered.whole && answered.flushed);
    EXPECT_EQ(outcome.plan, "layout: so it is");
    EXPECT_EQ(outcome.ended, Ended::completed);
  }
}

TEST_F(NativeFetchTest, git_that_fails_then_is_told_in_the_pack) {
  fall_back(PlanStatus::fallback, FallbackReason::layout);
  io::Signal gate;
  plans.gate = &gate;
  environment.git_path = "/nonexistent";
  environment.limits.keepalive = std::chrono::milliseconds(2);
  answer.on_write = [&](const std::string&) { gate.notify(); };
  const Unpacked answered = unpack(fetch(clone_v2()));
  EXPECT_EQ(answered.sections, std::vector<std::string>{"packfile"});
  EXPECT_NE(answered.bands[3].find("weir: "), std::string::npos);
  EXPECT_FALSE(answered.flushed);
  EXPECT_EQ(outcome.ended, Ended::failed);
}

TEST_F(NativeFetchTest, a_client_that_leaves_ends_the_planning) {
  io::Signal gate;  // never opened
  plans.gate = &gate;
  environment.limits.keepalive = std::chrono::milliseconds(2);
  answer.bytes_max = 20;
  fetch(clone_v2());
  EXPECT_EQ(outcome.ended, Ended::client_gone);
  answer.bytes_max = SIZE_MAX;
  answer.on_write = [&](const std::string&) { stop.request_stop(); };
  again(clone_v2());
  EXPECT_EQ(outcome.ended, Ended::client_gone);
  EXPECT_EQ(plans.asked, 2);
}

TEST_F(NativeFetchTest, a_client_that_leaves_the_pack_is_gone) {
  answer.bytes_max = 20;
  fetch(clone_v2());
  EXPECT_EQ(outcome.ended, Ended::client_gone);
  EXPECT_FALSE(outcome.cut);
}

class NativeFetchFilesTest : public NativeFetchTest {
 protected:
  NativeFetchFilesTest() {
    repository.git("repack -adq");
    auto opened = RepositoryFiles::open(*repository.repository(), ObjectFormat::sha1, nullptr, {});
    if (!opened) {
      ADD_FAILURE() << io::to_string(opened.error());
      return;
    }
    plans.files = *opened;
    const std::uint64_t bytes = plans.files->sizes()[0];
    RecipeBuilder builder(ObjectFormat::sha1);
    builder.add_extent(0, 12, bytes - 32);
    plans.reply->recipe = builder.finish({.objects = 3}, std::nullopt);
  }
};

TEST_F(NativeFetchFilesTest, the_pack_of_the_repository_is_the_answer) {
  environment.git_path = "/nonexistent";
  const Unpacked answered = unpack(fetch(clone_v2()));
  const std::string target = repository.folder() + "/clone.git";
  repository.run("git init -q --bare " + target);
  repository.run("git -C " + target + " index-pack --strict --stdin", answered.bands[1]);
  EXPECT_EQ(repository.run("git -C " + target + " rev-list --objects " + tip + " | wc -l"), "3\n");
}

TEST_F(NativeFetchFilesTest, a_file_that_was_cut_off_is_told_and_the_answer_cut) {
  const std::string file = "objects/pack/" + plans.files->files()[0].name + ".pack";
  std::filesystem::permissions(repository.path() + "/" + file, std::filesystem::perms::owner_all);
  std::filesystem::resize_file(repository.path() + "/" + file, 40);
  const Unpacked answered = unpack(fetch(clone_v2()));
  EXPECT_NE(answered.bands[3].find("could not finish this answer"), std::string::npos);
  EXPECT_TRUE(answered.whole);
  EXPECT_FALSE(answered.flushed);
  EXPECT_TRUE(outcome.cut);  // more was announced
  EXPECT_EQ(outcome.ended, Ended::failed);
  (void)again(pkts({"want " + tip, "0000", "done"}), 0);
  EXPECT_TRUE(outcome.cut);
}

}  // namespace
}  // namespace weir::git
