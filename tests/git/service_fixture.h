#pragma once
// ServiceTest: everything a fetch or push service needs, real but for the client: launcher, loop,
// workers, ref store, git itself. The client is a FakeBody and a FakeAnswer.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "git/git_command.h"
#include "git/process_slots.h"
#include "git/push_journal.h"
#include "git/ref_store.h"
#include "git/service_call.h"
#include "git/sync_coalescer.h"
#include "git/worker_pool.h"
#include "tests/git/fake_client.h"
#include "tests/git/git_runtime.h"
#include "tests/git/pkt_text.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() {
    environment.git_path = "/usr/bin/git";
    environment.git_config_path = repository.folder() + "/gitconfig";
    environment.launcher = runtime.launcher.get();
    environment.workers = runtime.workers.get();
    environment.refs = &refs;
    environment.fetch_slots = &fetch_slots;
    environment.push_slots = &push_slots;
    environment.requests_held = requests_held.get();
    environment.sync = &sync;
    environment.journal = &journal;
    environment.blocking = &runtime.blocking;
    EXPECT_TRUE(write_git_config(environment.git_config_path, "").has_value());
  }
  ~ServiceTest() override { EXPECT_EQ(fetch_slots.in_use() + push_slots.in_use(), 0); }

  std::shared_ptr<const RefSnapshot> snapshot() {
    std::string problem;
    auto taken = test.run(refs.snapshot(repository.repository(), test.clock.now(), *runtime.workers,
                                        {}, io::Deadline::never(), problem));
    if (!taken) {
      ADD_FAILURE() << io::to_string(taken.error()) << problem;
      std::abort();
    }
    return *taken;
  }

  io::Task<void> serve(Service service, std::shared_ptr<const RefSnapshot> seen, int version) {
    ServiceCall call{.environment = environment,
                     .repository = repository.repository(),
                     .snapshot = std::move(seen),
                     .protocol_version = version,
                     .request_id = "r1",
                     .trace_parent = "",
                     .remote_user = "ann",
                     .remote_address = "192.0.2.1",
                     .shown = {},
                     .body = body,
                     .answer = answer,
                     .stop = io::StopToken(stop)};
    if (service == Service::upload_pack) {
      outcome = co_await serve_upload_pack(call);
    } else {
      outcome = co_await serve_receive_pack(call);
    }
  }
  // Serves the body's request to its end.
  std::string run(Service service, int version) {
    test.run(serve(service, snapshot(), version));
    return answer.text;
  }
  std::string fetch(std::string request, int version = 2) {
    body.text = std::move(request);
    return run(Service::upload_pack, version);
  }
  std::string push(std::string request) {
    body.text = std::move(request);
    return run(Service::receive_pack, 0);
  }

  // Leaves the request so much memory.
  void hold_at_most(std::uint64_t bytes) {
    requests_held = std::make_unique<io::ByteBudget>("test", bytes);
    environment.requests_held = requests_held.get();
  }

  // A program that stands for git.
  void use_script(const std::string& script) {
    environment.git_path = repository.folder() + "/git-script";
    std::ofstream(environment.git_path) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(environment.git_path, std::filesystem::perms::owner_all);
  }
  void hook(const std::string& name, const std::string& script) {
    repository.write("hooks/" + name, "#!/bin/sh\n" + script);
    std::filesystem::permissions(repository.path() + "/hooks/" + name,
                                 std::filesystem::perms::owner_all);
  }
  // A named pipe that a script waits on until the test opens and closes it.
  std::string gate() {
    const std::string path = repository.folder() + "/gate";
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return path;
  }
  static void open_gate(const std::string& path) {
    const io::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  }
  int do_sync(int fd) {
    ++syncs;
    if (sync_error == 0) return ::syncfs(fd);
    errno = sync_error;
    return -1;
  }

  GitRuntime runtime;  // its launcher is forked before anything else exists
  io::TestLoop& test = *runtime.loop;
  ScratchRepository repository;
  RefStore refs{{.validity = Validity::stat, .state_directory = repository.folder() + "/state"},
                runtime.blocking};
  ProcessSlots fetch_slots{"fetch", 1, 4};
  ProcessSlots push_slots{"push", 1, 0};
  std::unique_ptr<io::ByteBudget> requests_held =
      std::make_unique<io::ByteBudget>("test", 64UL * 1024 * 1024);
  std::atomic<int> syncs{0};
  std::atomic<int> sync_error{0};
  SyncCoalescer sync{runtime.blocking, [this](int fd) { return do_sync(fd); }};
  PushJournal journal{repository.folder() + "/state/pushes"};
  GitEnvironment environment{};
  FakeBody body;
  FakeAnswer answer;
  io::StopSource stop;
  ServiceOutcome outcome;
};

}  // namespace weir::git
