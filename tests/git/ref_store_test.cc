#include "git/ref_store.h"

#include <gtest/gtest.h>

#include <latch>
#include <optional>
#include <thread>

#include "io/metrics.h"
#include "tests/git/git_runtime.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

using Snapshot = std::shared_ptr<const RefSnapshot>;

std::int64_t metric(const std::string& family, const std::string& labels = "") {
  return io::Metrics::instance().value(family, labels);
}

std::int64_t validations() {
  return metric("weir_refs_validations_total", "where=\"loop\"") +
         metric("weir_refs_validations_total", "where=\"pool\"");
}

// Refs as "<id> <name>" lines, HEAD first, from a snapshot and from git.
std::string listing(const RefSnapshot& snapshot) {
  std::string text = std::string(snapshot.head_target()) + "\n";
  for (std::size_t i = 0; i < snapshot.size(); ++i) {
    const Ref ref = snapshot.at(i);
    text += ref.id.to_hex() + " " + std::string(ref.name) + " " + ref.peeled.to_hex() + "\n";
  }
  return text;
}
std::string git_listing(const ScratchRepository& scratch) {
  return scratch.git("symbolic-ref HEAD") + "\n" +
         scratch.run("git -C " + scratch.path() +
                     " for-each-ref --format='%(objectname) %(refname) %(*objectname)'");
}

class RefStoreTest : public testing::Test {
 protected:
  void make_store(RefStoreOptions options = {}) {
    store_ = std::make_unique<RefStore>(std::move(options), runtime_.blocking);
  }
  io::Result<Snapshot> ask(std::shared_ptr<const Repository> repository) {
    problem_.clear();
    return runtime_.loop->run(store_->snapshot(std::move(repository), runtime_.loop->clock.now(),
                                               *runtime_.workers, {}, runtime_.patience(),
                                               problem_));
  }
  Snapshot get() {
    auto snapshot = ask(scratch_.repository());
    EXPECT_TRUE(snapshot) << problem_;
    return snapshot ? *snapshot : nullptr;
  }
  // Asks until the snapshot is no longer young, so that files are merely compared.
  Snapshot settle() {
    Snapshot snapshot = get();
    runtime_.loop->run_until([&] {
      const auto before = metric("weir_refs_validations_total", "where=\"loop\"");
      snapshot = get();
      return metric("weir_refs_validations_total", "where=\"loop\"") > before;
    });
    return snapshot;
  }

  ScratchRepository scratch_;
  GitRuntime runtime_;
  std::unique_ptr<RefStore> store_;
  std::string problem_;
};

TEST_F(RefStoreTest, sees_every_change_at_the_very_next_request) {
  make_store();
  const std::string one = scratch_.commit("one");
  const std::string two = scratch_.commit("two", one);
  const ScratchRepository other;
  other.git("update-ref refs/heads/main " + other.commit("elsewhere"));
  const std::string changes[] = {
      "git update-ref refs/heads/main " + one,
      "git update-ref refs/heads/main " + two,
      "git update-ref refs/heads/new/deep/folder " + one,
      "git tag -a -m x v1 " + one,
      "git tag light " + two,
      "git pack-refs --all",
      "git update-ref refs/heads/main " + one,  // loose above packed
      "git update-ref -d refs/tags/light",      // rewrites packed-refs
      "git pack-refs --all --no-prune",
      "git update-ref -d refs/heads/main",
      "git symbolic-ref HEAD refs/heads/other",
      "git branch other " + one,
      "git branch -m other renamed",
      "git symbolic-ref HEAD refs/heads/renamed",
      "echo " + two + " > refs/heads/renamed",  // in place, same size
      "mkdir -p refs/heads/x && echo " + one + " > refs/heads/x/y",
      "echo " + two + " > refs/heads/x/y",
      "rm refs/heads/x/y",
      "git fetch -q file://" + other.path() + " main:refs/remotes/other/main",
      "printf 'create refs/heads/a %s\\ncreate refs/heads/b %s\\n' " + one + " " + two +
          " | git update-ref --stdin",
      "git for-each-ref --format='delete %(refname)' | git update-ref --stdin",
  };
  std::uint64_t generation = get()->repository_generation();
  for (const std::string& change : changes) {
    const std::string before = git_listing(scratch_);
    scratch_.run("cd " + scratch_.path() + " && " + change);
    const Snapshot snapshot = get();
    ASSERT_EQ(listing(*snapshot), git_listing(scratch_)) << change;
    EXPECT_EQ(snapshot->repository_generation() > generation, git_listing(scratch_) != before)
        << change;
    generation = snapshot->repository_generation();
  }
  // The same from a snapshot that has settled, one change a time.
  for (const std::string& change : changes) {
    settle();
    scratch_.run("cd " + scratch_.path() + " && " + change);
    ASSERT_EQ(listing(*get()), git_listing(scratch_)) << change;
  }
}

TEST_F(RefStoreTest, is_not_fooled_by_changes_within_one_clock_tick) {
  make_store();
  const std::string ids[] = {scratch_.commit("one"), scratch_.commit("two")};
  const std::string path = scratch_.path() + "/refs/heads/main";
  scratch_.write("refs/heads/main", ids[0] + "\n");
  std::FILE* const file = std::fopen(path.c_str(), "r+");
  // Same inode, same size, and so fast that time stamps repeat.
  for (int i = 0; i < 300; ++i) {
    std::rewind(file);
    std::fputs((ids[i % 2] + "\n").c_str(), file);
    std::fflush(file);
    ASSERT_EQ(get()->find("refs/heads/main")->id.to_hex(), ids[i % 2]) << i;
  }
  std::fclose(file);
}

TEST_F(RefStoreTest, compares_on_the_loop_when_nothing_changed) {
  make_store();
  scratch_.git("update-ref refs/heads/main " + scratch_.commit("one"));
  const Snapshot settled = settle();
  const auto rebuilds = metric("weir_refs_rebuilds_total");
  const auto on_loop = metric("weir_refs_validations_total", "where=\"loop\"");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(get(), settled);
  EXPECT_EQ(metric("weir_refs_rebuilds_total"), rebuilds);
  EXPECT_EQ(metric("weir_refs_validations_total", "where=\"loop\""), on_loop + 10);
}

TEST_F(RefStoreTest, reads_the_configuration_again_when_it_changes) {
  make_store();
  const std::string one = scratch_.commit("one");
  scratch_.git("update-ref refs/secret/x " + one);
  EXPECT_FALSE(get()->find("refs/secret/x")->hidden_from(Service::upload_pack));
  scratch_.git("config include.path hidden");
  settle();
  scratch_.write("hidden", "[uploadpack]\n hideRefs = refs/secret\n");
  const Snapshot snapshot = get();
  EXPECT_TRUE(snapshot->find("refs/secret/x")->hidden_from(Service::upload_pack));
  EXPECT_FALSE(snapshot->find("refs/secret/x")->hidden_from(Service::receive_pack));
  EXPECT_FALSE(snapshot->advertises(*ObjectId::from_hex(one), Service::upload_pack));
}

TEST_F(RefStoreTest, peels_an_id_once) {
  make_store();
  scratch_.git("update-ref refs/heads/main " + scratch_.commit("one"));
  scratch_.git("tag -a -m x v1 main");
  get();
  const auto peels = metric("weir_refs_peels_total");
  scratch_.git("update-ref refs/heads/copy main");
  scratch_.git("tag copy v1");
  EXPECT_EQ(listing(*get()), git_listing(scratch_));
  EXPECT_EQ(metric("weir_refs_peels_total"), peels);
  scratch_.git("tag -a -m y v2 main");
  EXPECT_EQ(listing(*get()), git_listing(scratch_));
  EXPECT_EQ(metric("weir_refs_peels_total"), peels + 1);
}

struct Asked {
  std::optional<io::Result<Snapshot>> result;
  std::string problem;
};

io::Task<void> ask_into(RefStore& store, std::shared_ptr<const Repository> repository,
                        io::Instant since, WorkerPool& workers, io::StopToken stop,
                        io::Deadline deadline, Asked& asked) {
  asked.result =
      co_await store.snapshot(std::move(repository), since, workers, stop, deadline, asked.problem);
}

// Holds the only pool thread, so that validations are under way until release().
class HeldPool {
 public:
  HeldPool(io::TaskScope& scope, io::BlockingPool& pool) { scope.spawn(hold(pool, release_)); }
  ~HeldPool() { release(); }
  void release() {
    if (!std::exchange(released_, true)) release_.count_down();
  }

 private:
  static io::Task<void> hold(io::BlockingPool& pool, std::latch& release) {
    auto job = pool.run([&release] {
      release.wait();
      return 0;
    });
    co_await std::move(job);
  }
  std::latch release_{1};
  bool released_ = false;
};

TEST_F(RefStoreTest, shares_a_validation_that_began_after_the_request_and_no_other) {
  make_store();
  scratch_.git("update-ref refs/heads/main " + scratch_.commit("one"));
  io::TaskScope scope;
  HeldPool held(scope, runtime_.blocking);
  const io::Instant early = runtime_.loop->clock.now();
  Asked leader, same, later;
  const auto start = [&](io::Instant since, Asked& asked) {
    scope.spawn(ask_into(*store_, scratch_.repository(), since, *runtime_.workers, {},
                         runtime_.patience(), asked));
  };
  const auto compared = validations();
  const auto shared = metric("weir_refs_shared_total");
  start(early, leader);
  start(early, same);
  start(runtime_.loop->clock.now() + std::chrono::nanoseconds(1), later);
  held.release();
  runtime_.loop->run_until([&] { return scope.running() == 0; });
  ASSERT_TRUE(leader.result && *leader.result && *same.result && *later.result);
  EXPECT_EQ(**leader.result, **same.result);
  EXPECT_EQ(metric("weir_refs_shared_total"), shared + 1);
  // The later one made its own: it compared the files with what the leader had read.
  EXPECT_EQ(validations(), compared + 1);
}

TEST_F(RefStoreTest, lets_another_request_lead_when_the_leaders_client_leaves) {
  make_store();
  scratch_.git("update-ref refs/heads/main " + scratch_.commit("one"));
  io::TaskScope scope;
  HeldPool held(scope, runtime_.blocking);
  io::StopSource leaves;
  const io::Instant since = runtime_.loop->clock.now();
  Asked leader, follower, gone;
  scope.spawn(ask_into(*store_, scratch_.repository(), since, *runtime_.workers,
                       io::StopToken(leaves), runtime_.patience(), leader));
  scope.spawn(ask_into(*store_, scratch_.repository(), since, *runtime_.workers, {},
                       runtime_.patience(), follower));
  scope.spawn(ask_into(*store_, scratch_.repository(), since, *runtime_.workers,
                       io::StopToken(leaves), runtime_.patience(), gone));
  leaves.request_stop();
  runtime_.loop->run_until([&] { return gone.result.has_value(); });
  EXPECT_EQ(gone.result->error().code, io::Errc::cancelled);
  held.release();
  runtime_.loop->run_until([&] { return scope.running() == 0; });
  EXPECT_FALSE(*leader.result);  // it was cancelled when it asked a worker
  ASSERT_TRUE(*follower.result) << follower.problem;
  EXPECT_EQ(listing(***follower.result), git_listing(scratch_));
}

TEST_F(RefStoreTest, serves_several_loops_from_one_validation) {
  make_store();
  scratch_.git("update-ref refs/heads/main " + scratch_.commit("one"));
  io::TaskScope scope;
  HeldPool held(scope, runtime_.blocking);
  const io::Instant since = runtime_.loop->clock.now();
  Asked leader, follower;
  scope.spawn(ask_into(*store_, scratch_.repository(), since, *runtime_.workers, {},
                       runtime_.patience(), leader));
  const auto shared = metric("weir_refs_shared_total");
  std::latch waiting{1};
  std::thread other_loop([&] {
    io::TestLoop loop;
    io::TaskScope tasks;
    tasks.spawn(ask_into(*store_, scratch_.repository(), since, *runtime_.workers, {},
                         runtime_.patience(), follower));
    waiting.count_down();
    loop.run_until([&] { return tasks.running() == 0; });
  });
  waiting.wait();
  held.release();
  runtime_.loop->run_until([&] { return scope.running() == 0; });
  other_loop.join();
  ASSERT_TRUE(*leader.result && *follower.result);
  EXPECT_EQ(**leader.result, **follower.result);
  EXPECT_EQ(metric("weir_refs_shared_total"), shared + 1);
}

TEST_F(RefStoreTest, gives_a_newer_snapshot_after_changed_whoever_asks) {
  make_store();
  scratch_.git("update-ref refs/heads/main " + scratch_.commit("one"));
  const io::Instant long_ago = runtime_.loop->clock.now();
  settle();
  const auto rebuilds = metric("weir_refs_rebuilds_total");
  store_->changed(scratch_.repository()->id);
  Asked asked;
  runtime_.loop->run(ask_into(*store_, scratch_.repository(), long_ago, *runtime_.workers, {},
                              runtime_.patience(), asked));
  EXPECT_EQ(metric("weir_refs_rebuilds_total"), rebuilds + 1);
}

TEST_F(RefStoreTest, looks_at_no_file_between_changes_when_weir_is_the_sole_writer) {
  RefStoreOptions options;
  options.validity = Validity::generation;
  make_store(options);
  const std::string one = scratch_.commit("one");
  scratch_.git("update-ref refs/heads/main " + one);
  const Snapshot first = get();
  const auto compared = validations();
  scratch_.git("update-ref refs/heads/side " + one);
  EXPECT_EQ(get(), first);
  EXPECT_EQ(validations(), compared);
  store_->changed(scratch_.repository()->id);
  EXPECT_EQ(listing(*get()), git_listing(scratch_));
  EXPECT_GT(get()->repository_generation(), first->repository_generation());
}

TEST_F(RefStoreTest, no_repository_offers_filters_where_the_operator_does_not) {
  scratch_.git("config uploadpack.allowFilter true");
  make_store();
  EXPECT_TRUE(get()->config().allow_filter);
  RefStoreOptions options;
  options.allow_filter = false;
  make_store(options);
  EXPECT_FALSE(get()->config().allow_filter);
}

TEST_F(RefStoreTest, keeps_generations_across_restarts) {
  RefStoreOptions options;
  options.state_directory = scratch_.folder() + "/state";
  make_store(options);
  const std::string one = scratch_.commit("one");
  scratch_.git("update-ref refs/heads/main " + one);
  get();
  scratch_.git("update-ref refs/heads/side " + one);
  const std::uint64_t generation = get()->repository_generation();
  make_store(options);  // the former one ends in order
  EXPECT_EQ(get()->repository_generation(), generation);
  scratch_.git("update-ref -d refs/heads/side");
  EXPECT_GT(get()->repository_generation(), generation);
}

TEST_F(RefStoreTest, packs_a_repository_with_many_loose_refs_and_answers_from_the_loop) {
  make_store();
  const std::string one = scratch_.commit("one");
  std::string commands;
  for (int i = 0; i < 500; ++i) {
    commands += "create refs/heads/dir-" + std::to_string(i) + "/ref " + one + "\n";
  }
  scratch_.git("update-ref --stdin", commands);
  const std::string expected = git_listing(scratch_);
  const auto packs = metric("weir_refs_pack_jobs_total", "result=\"ok\"");
  EXPECT_EQ(listing(*get()), expected);
  runtime_.loop->run_until(
      [&] { return metric("weir_refs_pack_jobs_total", "result=\"ok\"") > packs; });
  EXPECT_TRUE(std::filesystem::exists(scratch_.path() + "/packed-refs"));
  EXPECT_EQ(listing(*settle()), expected);
  EXPECT_EQ(metric("weir_refs_pack_jobs_total", "result=\"ok\""), packs + 1);
}

TEST_F(RefStoreTest, does_not_insist_on_packing_what_cannot_be_packed) {
  make_store();
  const std::string one = scratch_.commit("one");
  for (int i = 0; i < 100; ++i) {
    scratch_.write("refs/heads/ref-" + std::to_string(i), one + "\n");
  }
  scratch_.write("packed-refs.lock", "");
  const auto failures = metric("weir_refs_pack_jobs_total", "result=\"failed\"");
  get();
  runtime_.loop->run_until(
      [&] { return metric("weir_refs_pack_jobs_total", "result=\"failed\"") > failures; });
  for (int i = 0; i < 20; ++i) {
    scratch_.write("refs/heads/more-" + std::to_string(i), one + "\n");
    EXPECT_EQ(listing(*get()), git_listing(scratch_));
  }
  EXPECT_EQ(metric("weir_refs_pack_jobs_total", "result=\"failed\""), failures + 1);
}

TEST_F(RefStoreTest, says_what_is_wrong_with_a_repository) {
  make_store();
  const std::string one = scratch_.commit("one");
  scratch_.git("update-ref refs/heads/main " + one);
  scratch_.write("packed-refs", one + " refs/heads/a\nrubbish\n");
  auto snapshot = ask(scratch_.repository());
  ASSERT_FALSE(snapshot);
  EXPECT_EQ(snapshot.error().code, io::Errc::corrupt);
  EXPECT_NE(problem_.find("packed-refs of this repository is malformed in line 2"),
            std::string::npos);
  scratch_.run("rm " + scratch_.path() + "/packed-refs");
  EXPECT_TRUE(ask(scratch_.repository()));

  const std::string head = scratch_.read("HEAD");
  scratch_.write("HEAD", "rubbish");
  snapshot = ask(scratch_.repository());
  ASSERT_FALSE(snapshot);
  EXPECT_NE(problem_.find("HEAD"), std::string::npos);
  scratch_.write("HEAD", head);

  const std::string config = scratch_.read("config");
  scratch_.write("config", config + "[core");
  snapshot = ask(scratch_.repository());
  ASSERT_FALSE(snapshot);
  EXPECT_NE(problem_.find("configuration"), std::string::npos);
  scratch_.write("config", config);
  EXPECT_TRUE(ask(scratch_.repository()));

  scratch_.run("rm -rf " + scratch_.path());
  snapshot = ask(scratch_.repository());
  ASSERT_FALSE(snapshot);
  EXPECT_EQ(snapshot.error().code, io::Errc::not_found);
}

TEST_F(RefStoreTest, names_the_git_that_a_reftable_repository_needs) {
  make_store();
  scratch_.git("config core.repositoryformatversion 1");
  scratch_.git("config extensions.refStorage reftable");
  const auto snapshot = ask(scratch_.repository());
  if (snapshot) GTEST_SKIP() << "this git reads reftable";
  EXPECT_EQ(snapshot.error().code, io::Errc::unavailable);
  EXPECT_NE(problem_.find("git 2.45"), std::string::npos) << problem_;
}

TEST_F(RefStoreTest, serves_a_sha256_repository) {
  make_store();
  const ScratchRepository scratch("--object-format=sha256");
  scratch.git("update-ref refs/heads/main " + scratch.commit("one"));
  scratch.git("tag -a -m x v1 main");
  auto snapshot = ask(scratch.repository());
  ASSERT_TRUE(snapshot) << problem_;
  EXPECT_EQ((*snapshot)->format(), ObjectFormat::sha256);
  EXPECT_EQ(listing(**snapshot), git_listing(scratch));
}

TEST_F(RefStoreTest, forgets_what_was_used_least_recently_beyond_its_bytes) {
  RefStoreOptions options;
  options.bytes_max = 1;
  const auto before = metric("weir_refs_bytes");
  make_store(options);
  scratch_.git("update-ref refs/heads/main " + scratch_.commit("one"));
  ScratchRepository other;
  other.mutable_repository()->id.bytes[0] = 1;
  other.git("update-ref refs/heads/main " + other.commit("one"));
  get();
  const auto one = metric("weir_refs_bytes") - before;
  EXPECT_GT(one, 0);
  ASSERT_TRUE(ask(other.repository()));
  EXPECT_LT(metric("weir_refs_bytes") - before, 2 * one);
  const auto rebuilds = metric("weir_refs_rebuilds_total");
  EXPECT_EQ(listing(*get()), git_listing(scratch_));
  EXPECT_EQ(metric("weir_refs_rebuilds_total"), rebuilds + 1);
  store_.reset();
  EXPECT_EQ(metric("weir_refs_bytes"), before);
}

}  // namespace
}  // namespace weir::git
