#include "git/worker_pool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <list>

#include "git/worker_protocol.h"
#include "io/unique_fd.h"
#include "tests/git/git_runtime.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

ObjectId id(const std::string& hex) {
  return *ObjectId::from_hex(hex);
}

// A program that stands for `weir`: a shell script with `body`; REAL is the true worker.
std::string worker_script(const ScratchRepository& scratch, const std::string& body) {
  const std::string path = scratch.folder() + "/weir";
  std::ofstream(path) << "#!/bin/sh\nREAL=" << WEIR_TEST_WORKER << "\nFOLDER=" << scratch.folder()
                      << "\n"
                      << body << "\n";
  chmod(path.c_str(), 0755);
  return path;
}

TEST(WorkerPool, reads_configuration_peels_and_checks_wants) {
  const ScratchRepository scratch;
  GitRuntime runtime;
  const std::string one = scratch.commit("one");
  const std::string two = scratch.commit("two");
  scratch.git("tag -a -m x v1 " + one);
  scratch.git("config transfer.hideRefs refs/pull");
  std::string problem;
  const auto config = runtime.loop->run(
      runtime.workers->read_config(scratch.repository(), {}, runtime.patience(), problem));
  ASSERT_TRUE(config) << problem;
  EXPECT_EQ(config->hide_refs_fetch, (std::vector<std::string>{"refs/pull"}));

  const std::vector<ObjectId> ids = {id(one), id(scratch.git("rev-parse v1"))};
  const auto peeled = runtime.loop->run(
      runtime.workers->peel(scratch.repository(), ObjectFormat::sha1, ids, {}, runtime.patience()));
  ASSERT_TRUE(peeled);
  EXPECT_EQ(*peeled, (std::vector<ObjectId>{{}, id(one)}));

  ObjectId refused;
  const auto check = [&](const std::vector<ObjectId>& wants) {
    const std::vector<ObjectId> tips = {id(one)};
    return runtime.loop->run(runtime.workers->check_wants(scratch.repository(), ObjectFormat::sha1,
                                                          wants, tips, "digest", false, refused, {},
                                                          runtime.patience()));
  };
  EXPECT_EQ(check({id(one)}), WantVerdict::allowed);
  EXPECT_EQ(check({id(one), id(two)}), WantVerdict::refused);
  EXPECT_EQ(refused, id(two));
}

TEST(WorkerPool, peels_more_ids_than_one_request_may_hold) {
  const ScratchRepository scratch;
  GitRuntime runtime;
  const std::string one = scratch.commit("one");
  scratch.git("tag -a -m x v1 " + one);
  std::vector<ObjectId> ids(kPeelIdsMax, id(one));
  ids.push_back(id(scratch.git("rev-parse v1")));
  const auto peeled = runtime.loop->run(
      runtime.workers->peel(scratch.repository(), ObjectFormat::sha1, ids, {}, runtime.patience()));
  ASSERT_TRUE(peeled);
  ASSERT_EQ(peeled->size(), ids.size());
  EXPECT_EQ(peeled->back(), id(one));
}

TEST(WorkerPool, tries_a_request_once_more_when_its_worker_dies) {
  const ScratchRepository scratch;
  GitRuntime runtime(worker_script(
      scratch, "[ -e $FOLDER/died ] || { touch $FOLDER/died; exit 1; }; exec $REAL \"$@\""));
  std::string problem;
  EXPECT_TRUE(runtime.loop->run(
      runtime.workers->read_config(scratch.repository(), {}, runtime.patience(), problem)));
  EXPECT_TRUE(std::filesystem::exists(scratch.folder() + "/died"));
}

TEST(WorkerPool, gives_up_when_workers_keep_dying_or_talk_nonsense) {
  for (const char* body : {"exit 1", "printf garbage >&3; exec sleep 1000",
                           "printf '\\001\\0\\0\\0x' >&3; exec sleep 1000"}) {
    const ScratchRepository scratch;
    GitRuntime runtime(worker_script(scratch, body));
    std::string problem;
    const auto config = runtime.loop->run(
        runtime.workers->read_config(scratch.repository(), {}, runtime.patience(), problem));
    ASSERT_FALSE(config) << body;
    EXPECT_EQ(config.error().code, io::Errc::unavailable) << body;
  }
}

TEST(WorkerPool, kills_a_worker_that_overruns_the_deadline) {
  const ScratchRepository scratch;
  GitRuntime runtime(worker_script(
      scratch,
      "[ -e $FOLDER/hung ] || { touch $FOLDER/hung; exec sleep 1000; }; exec $REAL \"$@\""));
  std::string problem;
  const auto soon = io::Deadline::after(runtime.loop->clock.now(), std::chrono::milliseconds(50));
  const auto late =
      runtime.loop->run(runtime.workers->read_config(scratch.repository(), {}, soon, problem));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, io::Errc::deadline_exceeded);
  // The next request gets a new one.
  EXPECT_TRUE(runtime.loop->run(
      runtime.workers->read_config(scratch.repository(), {}, runtime.patience(), problem)));
}

io::Task<void> ask(WorkerPool& workers, std::shared_ptr<const Repository> repository,
                   io::StopToken stop, io::Deadline deadline, io::Errc& outcome) {
  ObjectId refused;
  const std::vector<ObjectId> wants = {id(std::string(40, 'a'))};
  const auto verdict =
      co_await workers.check_wants(std::move(repository), ObjectFormat::sha1, wants, wants,
                                   "digest", false, refused, stop, deadline);
  outcome = verdict ? io::Errc::invalid : verdict.error().code;
}

TEST(WorkerPool, bounds_its_queue_and_ends_waiting_when_told_to) {
  const ScratchRepository scratch;
  GitRuntime runtime(worker_script(scratch, "exec sleep 1000"));
  io::TaskScope scope;
  io::StopSource stop;
  std::list<io::Errc> outcomes;
  for (std::size_t i = 0; i < kWorkerQueueMax + 2; ++i) {
    scope.spawn(ask(*runtime.workers, scratch.repository(), io::StopToken(stop), runtime.patience(),
                    outcomes.emplace_back(io::Errc::invalid)));
  }
  // One runs, kWorkerQueueMax wait, the last was refused at once.
  EXPECT_EQ(outcomes.back(), io::Errc::limit);
  EXPECT_EQ(runtime.workers->queued(), kWorkerQueueMax);
  stop.request_stop();
  runtime.loop->run_until([&] { return scope.running() == 0; });
  outcomes.pop_back();
  for (const io::Errc outcome : outcomes) EXPECT_EQ(outcome, io::Errc::cancelled);
  EXPECT_EQ(runtime.workers->queued(), 0U);
}

TEST(WorkerPool, packing_refs_is_finished_though_the_pool_ends) {
  const ScratchRepository scratch;
  const std::string gate = scratch.folder() + "/gate";
  ASSERT_EQ(mkfifo(gate.c_str(), 0600), 0);
  const std::string script = scratch.folder() + "/git";
  std::ofstream(script) << "#!/bin/sh\necho > " << scratch.folder() << "/begun\nread line < "
                        << gate << "\necho > " << scratch.folder() << "/ended\n";
  chmod(script.c_str(), 0755);
  GitRuntime runtime;
  WorkerPool pool(runtime.loop->loop, *runtime.launcher, {.weir_path = "", .git_path = script});
  bool told = false;
  ASSERT_TRUE(pool.pack_refs(scratch.repository(), [&](bool) { told = true; }));
  const auto there = [&](const std::string& name) {
    return ::access((scratch.folder() + name).c_str(), F_OK) == 0;
  };
  runtime.loop->run_until([&] { return there("/begun"); });
  runtime.loop->run(pool.close());
  EXPECT_TRUE(told);
  EXPECT_FALSE(there("/ended"));
  runtime.loop->run_until([&] {  // it waits for somebody to write, as long as it lives
    return io::UniqueFd(::open(gate.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)).valid();
  });
  runtime.loop->run_until([&] { return there("/ended"); });
}

}  // namespace
}  // namespace weir::git
