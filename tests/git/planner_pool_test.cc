#include "git/planner_pool.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <list>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "git/planner_channel.h"
#include "git/planner_protocol.h"
#include "io/metrics.h"
#include "io/syscall_filter.h"
#include "tests/git/git_runtime.h"
#include "tests/git/recipe_pack.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

std::int64_t counted(const char* family) {
  return io::Metrics::instance().value(family, "");
}

// Refs from lines of id, name and what it peels to; those below refs/hidden/ are hidden from
// fetches.
class ListedRefs final : public RefSnapshot {
 public:
  explicit ListedRefs(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string hex, name, peeled;
      words >> hex >> name >> peeled;
      names_.push_back(name);
      Ref ref{names_.back(), *ObjectId::from_hex(hex), {}, "", 0};
      if (!peeled.empty()) ref.peeled = *ObjectId::from_hex(peeled);
      if (name.starts_with("refs/hidden/")) ref.hidden = 1U << unsigned(Service::upload_pack);
      refs_.push_back(ref);
    }
  }
  explicit ListedRefs(const ScratchRepository& scratch)
      : ListedRefs(scratch.git("for-each-ref --format='%(objectname) %(refname) %(*objectname)'")) {
  }
  const RepositoryConfig& config() const override { return config_; }
  std::uint64_t repository_generation() const override { return 1; }
  std::string_view digest() const override { return "same for all"; }
  std::string_view head_target() const override { return "refs/heads/main"; }
  ObjectId head_id() const override {
    const auto main = find("refs/heads/main");
    return main ? main->id : ObjectId{};
  }
  std::size_t size() const override { return refs_.size(); }
  Ref at(std::size_t index) const override { return refs_[index]; }
  std::optional<Ref> find(std::string_view name) const override {
    for (const Ref& ref : refs_) {
      if (ref.name == name) return ref;
    }
    return std::nullopt;
  }
  bool advertises(const ObjectId& id, Service) const override { return id == head_id(); }
  std::optional<RenderedBody> ls_refs(const LsRefsRequest&, Effort) const override { return {}; }
  std::optional<RenderedBody> advertisement(Service, int, const AdvertisementOptions&,
                                            Effort) const override {
    return {};
  }

 private:
  RepositoryConfig config_;
  std::list<std::string> names_;
  std::vector<Ref> refs_;
};

// What one plan() came to.
struct Outcome {
  bool over = false;
  io::Errc error = io::Errc::invalid;
  Planned planned;
};

io::Task<void> ask(PlanSource& pool, std::shared_ptr<const Repository> repository,
                   std::shared_ptr<const RefSnapshot> snapshot, PlanRequest request,
                   io::StopToken stop, io::Deadline deadline, Outcome& outcome) {
  auto planning =
      pool.plan(std::move(repository), std::move(snapshot), std::move(request), stop, deadline);
  auto planned = co_await std::move(planning);
  if (planned) {
    outcome.planned = std::move(*planned);
  } else {
    outcome.error = planned.error().code;
  }
  outcome.over = true;
}

class PlannerPoolTest : public testing::Test {
 protected:
  ~PlannerPoolTest() override {
    if (pool_ != nullptr) loop().run(pool_->close());
    EXPECT_EQ(counted("weir_planner_waiting"), 0);
    EXPECT_EQ(counted("weir_planner_plans_in_flight"), 0);
    EXPECT_EQ(counted("weir_planner_open_repositories"), 0);
  }
  io::TestLoop& loop() { return *runtime.loop; }

  // `body`: of a shell script that stands for weir; REAL is the planner, FOLDER a place for notes.
  void start(const std::string& body = "exec $REAL \"$@\"", PlannerPoolOptions options = {}) {
    options.weir_path = repository.folder() + "/weir";
    options.roots = {repository.folder()};
    std::ofstream(options.weir_path)
        << "#!/bin/sh\nREAL=" << WEIR_TEST_PLANNER << "\nFOLDER=" << repository.folder() << "\n"
        << body << "\n";
    chmod(options.weir_path.c_str(), 0755);
    pool_ = std::make_unique<PlannerPool>(loop().loop, *runtime.launcher, runtime.blocking,
                                          directory, std::move(options));
  }
  // The first child lies or dies that way, those after it are real.
  void start_with(const std::string& first) {
    start("[ -e $FOLDER/first ] && exec $REAL \"$@\"; touch $FOLDER/first; export " +
          ("WEIR_TEST_PLANNER=" + first) + "; exec $REAL \"$@\"");
  }
  static std::string always(const std::string& how) {
    return "export WEIR_TEST_PLANNER=" + how + "; exec $REAL \"$@\"";
  }

  // A commit with a file of its own on a branch; its id.
  std::string grow(const std::string& text, const std::string& ref = "refs/heads/main",
                   const std::string& options = "") {
    const std::string blob = repository.git("hash-object -w --stdin", text);
    const std::string tree = repository.git("mktree", "100644 blob " + blob + "\tfile\n");
    const std::string commit = repository.git("commit-tree -m '" + text + "' " + options + tree);
    repository.git("update-ref " + ref + " " + commit);
    return commit;
  }
  std::shared_ptr<const RefSnapshot> refs() {
    return listed != nullptr ? listed : std::make_shared<ListedRefs>(repository);
  }
  static PlanRequest want(const std::string& hex) {
    PlanRequest request{.wants = {*ObjectId::from_hex(hex)}};
    request.ofs_delta = true;
    return request;
  }
  // Wants the same, but is no equal of what was asked before.
  PlanRequest want_anew(const std::string& hex) {
    PlanRequest request = want(hex);
    ObjectId& unknown = request.haves.emplace_back();
    unknown.bytes = 20;
    unknown.hash[18] = static_cast<std::uint8_t>(++unequal_ >> 8);
    unknown.hash[19] = static_cast<std::uint8_t>(unequal_);
    return request;
  }
  io::Result<Planned> plan(PlanRequest request) {
    return loop().run(
        pool_->plan(repository.repository(), refs(), std::move(request), {}, runtime.patience()));
  }
  // How many of one have count.
  std::size_t common(const std::string& wanted, const std::string& have) {
    PlanRequest request = want(wanted);
    request.haves = {*ObjectId::from_hex(have)};
    request.done = false;
    const auto planned = plan(std::move(request));
    EXPECT_TRUE(planned && planned->reply->status != PlanStatus::fallback) << status(planned);
    return planned ? planned->reply->common.size() : 99;
  }
  // The status, with the reason of a fallback.
  std::string status(const io::Result<Planned>& planned) {
    if (!planned) return io::to_string(planned.error().code);
    const PlanReply& reply = *planned->reply;
    if (reply.status == PlanStatus::fallback) {
      return "fallback " + std::string(reason_name(reply.reason));
    }
    return reply.status == PlanStatus::planned   ? "planned"
           : reply.status == PlanStatus::missing ? "missing"
                                                 : "other";
  }
  // The names of what a plan sends, as git reads them.
  std::set<std::string> objects(const Planned& planned) {
    std::ofstream(repository.folder() + "/answer.pack", std::ios::binary)
        << pack_of(planned.reply->recipe, *planned.files);
    repository.run("cd " + repository.folder() + " && git index-pack --strict answer.pack");
    std::istringstream lines(
        repository.run("git show-index < " + repository.folder() + "/answer.idx"));
    std::set<std::string> names;
    for (std::string line; std::getline(lines, line);) {
      names.insert(line.substr(line.find(' ') + 1, 40));
    }
    return names;
  }
  std::set<std::string> reachable(const std::string& commit) {
    std::istringstream lines(repository.git("rev-list --objects " + commit));
    std::set<std::string> names;
    for (std::string line; std::getline(lines, line);) names.insert(line.substr(0, 40));
    return names;
  }

  ScratchRepository repository;
  GitRuntime runtime;
  PlannerDirectory directory;
  std::shared_ptr<const RefSnapshot> listed;  // null: as git lists them
  std::unique_ptr<PlannerPool> pool_;
  unsigned unequal_ = 0;
};

TEST_F(PlannerPoolTest, plans_what_git_reads_and_keeps_its_planner_and_its_files) {
  const std::string first = grow("one");
  repository.git("repack -adq");
  const std::string second = grow("two", "refs/heads/main", "-p " + first + " ");
  start();
  const std::int64_t deaths = counted("weir_planner_deaths_total");
  const auto whole = plan(want(second));
  ASSERT_EQ(status(whole), "planned");
  EXPECT_EQ(objects(*whole), reachable(second));
  const auto older = plan(want(first));
  ASSERT_EQ(status(older), "planned");
  EXPECT_EQ(objects(*older), reachable(first));
  EXPECT_EQ(older->files, whole->files);
  EXPECT_EQ(counted("weir_planner_open_repositories"), 1);
  EXPECT_EQ(counted("weir_planner_deaths_total"), deaths);
}

TEST_F(PlannerPoolTest, counts_the_time_of_each_plan) {
  const std::string commit = grow("one");
  start();
  const std::int64_t before = counted("weir_planner_cpu_seconds");
  EXPECT_EQ(status(plan(want(commit))), "planned");
  EXPECT_EQ(counted("weir_planner_cpu_seconds"), before + 1);
}

TEST_F(PlannerPoolTest, an_empty_repository_misses_everything) {
  start();
  EXPECT_EQ(status(plan(want(std::string(40, 'a')))), "missing");
}

TEST_F(PlannerPoolTest, looks_again_when_an_object_is_missing) {
  const std::string first = grow("one");
  start();
  ASSERT_EQ(status(plan(want(first))), "planned");
  const std::string second = grow("two");  // within the second in which nobody looks by itself
  const auto planned = plan(want(second));
  ASSERT_EQ(status(planned), "planned");
  EXPECT_EQ(objects(*planned), reachable(second));
}

TEST_F(PlannerPoolTest, plans_on_after_a_repack_and_from_the_old_files_meanwhile) {
  const std::string first = grow("one");
  repository.git("repack -adq");
  start();
  const auto before = plan(want(first));
  ASSERT_EQ(status(before), "planned");
  const std::string second = grow("two", "refs/heads/main", "-p " + first + " ");
  repository.git("repack -adq");
  const auto old = plan(want(first));
  ASSERT_EQ(status(old), "planned");
  EXPECT_EQ(objects(*old), reachable(first));
  const auto fresh = plan(want(second));
  ASSERT_EQ(status(fresh), "planned");
  EXPECT_EQ(objects(*fresh), reachable(second));
  EXPECT_NE(fresh->files->number(), before->files->number());
  EXPECT_EQ(objects(*before), reachable(first));  // what is being sent
}

TEST_F(PlannerPoolTest, what_hidden_refs_reach_is_not_common) {
  const std::string shown = grow("one");
  const std::string hidden = grow("two", "refs/hidden/x");
  start();
  EXPECT_EQ(common(shown, hidden), 0U);
  EXPECT_EQ(common(shown, shown), 1U);
  repository.git("update-ref refs/heads/now " + hidden);
  EXPECT_EQ(common(shown, hidden), 1U);
  repository.git("update-ref -d refs/heads/now");
  EXPECT_EQ(common(shown, hidden), 0U);
}

TEST_F(PlannerPoolTest, sends_more_files_than_fit_into_one_message) {
  std::string stream;  // a pack each
  for (int i = 0; i < 70; ++i) {
    stream += "commit refs/heads/" + std::to_string(i) +
              "\ncommitter a <a@b> 1700000000 +0000\ndata 2\n" + std::to_string(i + 10) +
              "\ncheckpoint\n";
  }
  repository.git("-c fastimport.unpackLimit=0 -c core.fsync=none fast-import --quiet", stream);
  const std::string last = repository.git("rev-parse refs/heads/69");
  start();
  const auto planned = plan(want(last));
  ASSERT_EQ(status(planned), "planned") << planned->reply->problem;
  EXPECT_GT(planned->files->files().size(), kFilesPerPacketMax);
  EXPECT_EQ(objects(*planned), reachable(last));
}

TEST_F(PlannerPoolTest, sends_more_tips_than_fit_into_one_message) {
  std::string stream = "reset refs/heads/main\n";
  for (int i = 0; i < 4000; ++i) {
    stream += "commit refs/heads/main\ncommitter a <a@b> 1700000000 +0000\ndata 4\n" +
              std::to_string(i + 1000) + "\n";
  }
  repository.git("fast-import --quiet", stream);
  std::string lines;
  std::istringstream commits(repository.git("rev-list main"));
  for (std::string hex; std::getline(commits, hex);) lines += hex + " refs/heads/" + hex + "\n";
  listed = std::make_shared<ListedRefs>(lines);
  ASSERT_GT(lines.size() / 80 * 21, kPlannerPacketBytesMax);
  start();
  const std::string oldest = repository.git("rev-list --max-parents=0 main");
  EXPECT_EQ(common(repository.git("rev-parse main"), oldest), 1U);
  EXPECT_EQ(common(oldest, grow("elsewhere", "refs/heads/other")), 0U);
}

TEST_F(PlannerPoolTest, takes_answers_that_are_too_long_for_a_message) {
  // Loose objects are deflated anew, so that their bytes travel in the recipe.
  std::string noise;
  for (std::uint32_t i = 0, x = 1; i < 100'000; ++i) {
    noise.push_back(static_cast<char>((x = x * 1664525 + 1013904223) >> 24));
  }
  const std::string commit = grow("small");
  const std::string blob = repository.git("hash-object -w --stdin", noise);
  const std::string tree = repository.git("mktree", "100644 blob " + blob + "\tnoise\n");
  const std::string large = repository.git("commit-tree -m large -p " + commit + " " + tree);
  repository.git("update-ref refs/heads/main " + large);
  start();
  const auto planned = plan(want(large));
  ASSERT_EQ(status(planned), "planned");
  EXPECT_GT(planned->reply->recipe.memory_bytes(), kPlannerPacketBytesMax);
  EXPECT_EQ(objects(*planned), reachable(large));
}

// Somebody who reads slowly holds the recipe, however large it is.
TEST_F(PlannerPoolTest, recipes_that_are_held_have_a_bound_and_give_back_what_they_held) {
  const std::string one = grow(std::string(100'000, 'a')), two = grow(std::string(100'000, 'b'));
  PlannerPoolOptions options;
  options.recipe_cache_bytes_max = 0;
  start("exec $REAL \"$@\"", options);
  const auto first = plan(want(one));
  ASSERT_EQ(status(first), "planned");
  const auto bytes = io::Metrics::instance().value("weir_held_bytes", "what=\"recipes\"");
  EXPECT_EQ(bytes, static_cast<std::int64_t>(first->reply->recipe.memory_bytes()));
  loop().run(pool_->close());
  pool_.reset();
  directory = {};
  options.recipes_held_bytes_max = static_cast<std::uint64_t>(bytes) * 3 / 2;
  start("exec $REAL \"$@\"", options);
  {
    const auto again = plan(want(one));
    EXPECT_EQ(status(again), "planned");
    EXPECT_EQ(status(plan(want(two))), "fallback budget");
  }
  EXPECT_EQ(status(plan(want_anew(two))), "planned");
  EXPECT_EQ(io::Metrics::instance().value("weir_held_bytes", "what=\"recipes\""), bytes);
}

TEST_F(PlannerPoolTest, asks_with_many_haves) {
  const std::string commit = grow("one");
  start();
  PlanRequest request = want(commit);
  for (int i = 0; i < 20'000; ++i) {
    std::string hex = std::to_string(i);
    hex.insert(0, 40 - hex.size(), '0');
    request.haves.push_back(*ObjectId::from_hex(hex));
  }
  EXPECT_EQ(status(plan(std::move(request))), "planned");
}

TEST_F(PlannerPoolTest, more_repositories_than_a_planner_keeps_take_turns) {
  start();
  std::list<ScratchRepository> others;
  std::map<const ScratchRepository*, std::string> commits;
  for (std::size_t i = 0; i < kPlannerViewsMax + 2; ++i) {
    ScratchRepository& other = others.emplace_back();
    other.mutable_repository()->id.bytes[0] = static_cast<std::uint8_t>(i);
    commits[&other] = other.commit(std::to_string(i));
    other.git("update-ref refs/heads/main " + commits[&other]);
  }
  const std::int64_t deaths = counted("weir_planner_deaths_total");
  for (int round = 0; round < 2; ++round) {
    for (const ScratchRepository& other : others) {
      const auto planned =
          loop().run(pool_->plan(other.repository(), std::make_shared<ListedRefs>(other),
                                 want(commits[&other]), {}, runtime.patience()));
      EXPECT_EQ(status(planned), "planned");
    }
  }
  EXPECT_EQ(counted("weir_planner_deaths_total"), deaths);
}

TEST_F(PlannerPoolTest, repositories_that_are_not_whole_or_reach_outside_are_for_git) {
  const std::string commit = grow("one");
  start();
  repository.write("shallow", commit + "\n");
  EXPECT_EQ(status(plan(want(commit))), "fallback repository");
}

TEST_F(PlannerPoolTest, alternates_outside_of_the_roots_are_for_git) {
  const std::string commit = grow("one");
  const ScratchRepository other;
  repository.write("objects/info/alternates", other.path() + "/objects\n");
  start();
  EXPECT_EQ(status(plan(want(commit))), "fallback repository");
}

TEST_F(PlannerPoolTest, a_planner_is_replaced_when_it_has_made_its_plans) {
  const std::string commit = grow("one");
  PlannerPoolOptions options;
  options.plans_per_planner_max = 2;
  start("echo >> $FOLDER/starts; exec $REAL \"$@\"", std::move(options));
  const std::int64_t deaths = counted("weir_planner_deaths_total");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(status(plan(want_anew(commit))), "planned");
  EXPECT_EQ(repository.run("wc -l < " + repository.folder() + "/starts"), "3\n");
  EXPECT_EQ(counted("weir_planner_deaths_total"), deaths);
}

TEST_F(PlannerPoolTest, a_planner_that_dies_at_any_moment_costs_a_retry) {
  const std::string commit = grow("one");
  for (const char* how : {"die:start", "die:open", "die:tips", "die:plan"}) {
    start_with(how);
    const std::int64_t deaths = counted("weir_planner_deaths_total");
    const std::int64_t retries = counted("weir_planner_retries_total");
    EXPECT_EQ(status(plan(want(commit))), "planned") << how;
    EXPECT_EQ(counted("weir_planner_deaths_total"), deaths + 1) << how;
    EXPECT_EQ(counted("weir_planner_retries_total"), retries + 1) << how;
    loop().run(pool_->close());
    pool_.reset();
    directory = {};
    std::filesystem::remove(repository.folder() + "/first");
  }
}

TEST_F(PlannerPoolTest, a_planner_that_is_killed_between_plans_costs_nothing_but_its_warmth) {
  const std::string commit = grow("one");
  start("echo $$ > $FOLDER/pid; exec $REAL \"$@\"");
  ASSERT_EQ(status(plan(want(commit))), "planned");
  pid_t pid = 0;
  std::ifstream(repository.folder() + "/pid") >> pid;
  ASSERT_GT(pid, 1);
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  EXPECT_EQ(status(plan(want(commit))), "planned");
}

TEST_F(PlannerPoolTest, a_repository_that_planners_die_of_rests) {
  const std::string commit = grow("one");
  start("echo >> $FOLDER/starts; " + always("die:plan"));
  const auto starts = [&] { return repository.run("wc -l < " + repository.folder() + "/starts"); };
  EXPECT_EQ(status(plan(want(commit))), "fallback planner");
  EXPECT_EQ(starts(), "2\n");
  EXPECT_EQ(status(plan(want(commit))), "fallback planner");
  EXPECT_EQ(starts(), "2\n");
}

TEST_F(PlannerPoolTest, no_planner_to_be_had_is_for_git) {
  const std::string commit = grow("one");
  start();
  std::filesystem::remove(repository.folder() + "/weir");
  EXPECT_EQ(status(plan(want(commit))), "fallback planner");
  // It was not the repository.
  std::filesystem::copy(WEIR_TEST_PLANNER, repository.folder() + "/weir");
  EXPECT_EQ(status(plan(want_anew(commit))), "planned");
}

TEST_F(PlannerPoolTest, planners_that_were_taken_over_are_refused_counted_and_replaced) {
  const std::string commit = grow("one");
  repository.git("repack -adq");
  for (const char* how : {"garbage", "nothing", "beyond", "index", "no_file", "format", "view",
                          "id", "sums", "counts", "talk", "need_view", "need_tips", "unsealed",
                          "huge", "zeros", "pipe", "descriptors"}) {
    start(always(how));
    const std::int64_t refused = counted("weir_planner_replies_refused_total");
    const std::int64_t deaths = counted("weir_planner_deaths_total");
    EXPECT_EQ(status(plan(want(commit))), "fallback planner") << how;
    EXPECT_EQ(counted("weir_planner_replies_refused_total"), refused + 2) << how;
    EXPECT_EQ(counted("weir_planner_deaths_total"), deaths + 2) << how;
    loop().run(pool_->close());
    pool_.reset();
    directory = {};
  }
}

TEST_F(PlannerPoolTest, an_answer_that_nobody_asked_for_is_not_taken_for_the_next) {
  const std::string commit = grow("one");
  start_with("twice");
  EXPECT_EQ(status(plan(want(commit))), "missing");
  const std::int64_t refused = counted("weir_planner_replies_refused_total");
  EXPECT_EQ(status(plan(want_anew(commit))), "planned");
  EXPECT_EQ(counted("weir_planner_replies_refused_total"), refused + 1);
}

TEST_F(PlannerPoolTest, kills_a_planner_that_overruns_its_time) {
  const std::string commit = grow("one");
  start_with("hang");
  PlanRequest request = want(commit);
  request.time_ms_max = 50;
  EXPECT_EQ(status(plan(std::move(request))), "fallback budget");
  EXPECT_EQ(status(plan(want_anew(commit))), "planned");
}

TEST_F(PlannerPoolTest, deadline_and_stop_end_the_wait_at_once) {
  const std::string commit = grow("one");
  start_with("hang");
  io::TaskScope scope;
  io::StopSource stop;
  Outcome late, left, waiting;
  const auto soon = io::Deadline::after(loop().clock.now(), std::chrono::milliseconds(20));
  scope.spawn(ask(*pool_, repository.repository(), refs(), want(commit), {}, soon, late));
  scope.spawn(ask(*pool_, repository.repository(), refs(), want(commit), io::StopToken(stop),
                  runtime.patience(), left));
  scope.spawn(
      ask(*pool_, repository.repository(), refs(), want(commit), {}, runtime.patience(), waiting));
  loop().run_until([&] { return late.over; });
  EXPECT_EQ(late.error, io::Errc::deadline_exceeded);
  stop.request_stop();
  loop().run_until([&] { return left.over; });
  EXPECT_EQ(left.error, io::Errc::cancelled);
  EXPECT_FALSE(waiting.over);
  // The planner that hangs is killed soon, for those who wait.
  loop().run_until([&] { return scope.running() == 0; });
  ASSERT_NE(waiting.planned.reply, nullptr);
  EXPECT_EQ(waiting.planned.reply->status, PlanStatus::planned);
}

TEST_F(PlannerPoolTest, makes_one_plan_for_all_who_ask_for_the_same) {
  const std::string commit = grow("one");
  start();
  const std::int64_t plans = counted("weir_planner_plans_total");
  io::TaskScope scope;
  std::list<Outcome> outcomes;
  const auto snapshot = refs();
  for (int i = 0; i < 100; ++i) {
    scope.spawn(ask(*pool_, repository.repository(), snapshot, want(commit), {}, runtime.patience(),
                    outcomes.emplace_back()));
  }
  loop().run_until([&] { return scope.running() == 0; });
  for (const Outcome& outcome : outcomes) {
    ASSERT_NE(outcome.planned.reply, nullptr);
    EXPECT_EQ(outcome.planned.reply->status, PlanStatus::planned);
    EXPECT_EQ(outcome.planned.reply, outcomes.front().planned.reply);
  }
  // Nor does a new ref make it another.
  grow("two");
  const auto later = plan(want(commit));
  EXPECT_EQ(later->reply, outcomes.front().planned.reply);
  EXPECT_EQ(counted("weir_planner_plans_total"), plans + 1);
}

TEST_F(PlannerPoolTest, bounds_its_queue) {
  const std::string commit = grow("one");
  start(always("hang"));
  io::TaskScope scope;
  io::StopSource stop;
  std::list<Outcome> outcomes;
  const auto snapshot = refs();
  for (std::size_t i = 0; i < kPlansQueuedMax + 2; ++i) {  // one is being made
    scope.spawn(ask(*pool_, repository.repository(), snapshot, want_anew(commit),
                    io::StopToken(stop), runtime.patience(), outcomes.emplace_back()));
  }
  loop().run_until([&] { return outcomes.back().over; });
  EXPECT_EQ(outcomes.back().error, io::Errc::limit);
  EXPECT_EQ(std::ranges::count(outcomes, true, &Outcome::over), 1);
  stop.request_stop();
  loop().run_until([&] { return scope.running() == 0; });
  outcomes.pop_back();
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.error, io::Errc::cancelled);
}

TEST_F(PlannerPoolTest, closing_ends_plans_under_way) {
  const std::string commit = grow("one");
  start(always("hang"));
  io::TaskScope scope;
  Outcome outcome;
  PlanRequest request = want(commit);
  request.time_ms_max = 100;
  scope.spawn(
      ask(*pool_, repository.repository(), refs(), request, {}, runtime.patience(), outcome));
  loop().run_until([&] { return counted("weir_planner_plans_in_flight") == 1; });
  loop().run(pool_->close());
  loop().run_until([&] { return scope.running() == 0; });
  EXPECT_EQ(status(outcome.planned), "fallback budget");
  EXPECT_EQ(status(plan(want(commit))), "fallback planner");
}

TEST_F(PlannerPoolTest, a_plan_may_be_asked_for_on_another_loop) {
  const std::string commit = grow("one");
  start();
  // Two pools, this loop's and that of a loop on another thread; the repository is this loop's.
  std::atomic<bool> asked = false, done = false;
  Outcome outcome, gave_up;
  const auto snapshot = refs();
  std::thread thread([&] {
    io::TestLoop other;
    PlannerPool theirs(other.loop, *runtime.launcher, runtime.blocking, directory, {});
    io::TaskScope scope;
    io::StopSource stop;
    scope.spawn(ask(theirs, repository.repository(), snapshot, want(commit), {}, runtime.patience(),
                    outcome));
    other.run_until([&] { return scope.running() == 0; });
    scope.spawn(ask(theirs, repository.repository(), snapshot, want(commit), io::StopToken(stop),
                    runtime.patience(), gave_up));
    stop.request_stop();
    other.run_until([&] { return scope.running() == 0; });
    asked = true;
    other.run_until([&] { return done.load(); });
    other.run(theirs.close());
  });
  loop().run_until([&] { return asked.load(); });
  loop().run(pool_->close());
  done = true;
  thread.join();
  EXPECT_EQ(status(outcome.planned), "planned");
  EXPECT_EQ(gave_up.error, io::Errc::cancelled);
}

TEST_F(PlannerPoolTest, a_planner_reaches_nothing) {
  const std::string commit = grow("one");
  start("echo $$ > $FOLDER/pid; exec $REAL \"$@\"");
  ASSERT_EQ(status(plan(want(commit))), "planned");
  std::string pid;
  std::ifstream(repository.folder() + "/pid") >> pid;
  std::stringstream about;
  about << std::ifstream("/proc/" + pid + "/status").rdbuf();
  EXPECT_NE(about.str().find("NoNewPrivs:\t1\n"), std::string::npos);
  if (!io::kSanitized) EXPECT_NE(about.str().find("Seccomp:\t2\n"), std::string::npos);
  // Standard streams, the socket, and its own memory statistics.
  std::size_t open = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + pid + "/fd")) {
    open += entry.path().filename().string().empty() ? 0 : 1;
  }
  EXPECT_EQ(open, 5U);
}

}  // namespace
}  // namespace weir::git
