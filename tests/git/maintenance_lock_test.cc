#include "git/maintenance_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <utility>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

namespace fs = std::filesystem;

std::string host() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// Of a process that has ended.
pid_t dead_pid() {
  const pid_t pid = fork();
  if (pid == 0) _exit(0);
  waitpid(pid, nullptr, 0);
  return pid;
}

void write(const std::string& path, const std::string& text, std::chrono::seconds age = {}) {
  std::ofstream(path) << text;
  fs::last_write_time(path, fs::file_time_type::clock::now() - age);
}

TEST(MaintenanceLock, writes_gc_pid_as_git_reads_it_and_removes_it) {
  const ScratchRepository repository;
  {
    MaintenanceLock lock;
    ASSERT_EQ(lock.take(*repository.repository()), "");
    EXPECT_EQ(repository.run("cat " + repository.path() + "/gc.pid"),
              std::to_string(getpid()) + " " + host());
    const std::string gc = repository.run("git -C " + repository.path() + " gc 2>&1 || true");
    EXPECT_NE(gc.find("gc is already running"), gc.npos) << gc;
  }
  EXPECT_FALSE(fs::exists(repository.path() + "/gc.pid"));
  repository.git("gc --quiet");
}

TEST(MaintenanceLock, is_held_once) {
  const ScratchRepository repository;
  MaintenanceLock lock, other;
  ASSERT_EQ(lock.take(*repository.repository()), "");
  EXPECT_NE(other.take(*repository.repository()), "");
}

TEST(MaintenanceLock, is_held_by_what_a_killed_holder_left_running) {
  const ScratchRepository repository;
  int end[2];
  ASSERT_EQ(pipe(end), 0);
  pid_t child = 0;
  {
    MaintenanceLock lock;
    ASSERT_EQ(lock.take(*repository.repository()), "");
    child = fork();
    if (child == 0) {
      close(end[1]);
      char byte;
      (void)!read(end[0], &byte, 1);  // until the test lets go
      _exit(0);
    }
  }
  MaintenanceLock next;
  EXPECT_NE(next.take(*repository.repository()), "");
  close(end[0]);
  close(end[1]);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(next.take(*repository.repository()), "");
}

TEST(MaintenanceLock, believes_gc_pid_as_git_does) {
  using namespace std::chrono_literals;
  const ScratchRepository repository;
  const std::string path = repository.path() + "/gc.pid";
  const std::string alive = std::to_string(getppid()), dead = std::to_string(dead_pid());
  const struct {
    std::string text;
    std::chrono::seconds age;
    bool held;
  } cases[] = {
      {alive + " " + host(), 0s, true},
      {dead + " " + host(), 0s, false},
      {dead + " another.host", 0s, true},
      {dead + " another.host", 13h, false},
      {alive + " " + host(), 13h, false},
      {"", 0s, false},
      {"nonsense", 0s, false},
      {"-1 " + host(), 0s, false},
  };
  for (const auto& each : cases) {
    write(path, each.text, each.age);
    MaintenanceLock lock;
    EXPECT_EQ(lock.take(*repository.repository()) != "", each.held) << each.text;
    EXPECT_FALSE(fs::exists(path + ".lock"));
  }
}

TEST(MaintenanceLock, waits_for_nobody_who_writes_gc_pid_but_the_living) {
  const ScratchRepository repository;
  const std::string draft = repository.path() + "/gc.pid.lock";
  write(draft, "");
  {
    MaintenanceLock lock;
    EXPECT_NE(lock.take(*repository.repository()), "");
  }
  EXPECT_TRUE(fs::exists(draft)) << "it is another's";
  write(draft, "", std::chrono::minutes(2));
  MaintenanceLock lock;
  EXPECT_EQ(lock.take(*repository.repository()), "");
}

TEST(MaintenanceLock, leftovers_go_when_nobody_can_be_writing_them) {
  const ScratchRepository repository;
  const std::string folder = repository.path() + "/objects/pack/";
  write(folder + "tmp_pack_old", "half", std::chrono::hours(1));
  write(folder + ".tmp-1-pack-aa.pack", "half", std::chrono::hours(1));
  write(folder + "pack-aa.pack", "whole", std::chrono::hours(1));
  // Someone who began before a file was written, and works here.
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t writer = fork();
  if (writer == 0) {
    if (chdir(repository.path().c_str()) != 0) _exit(1);
    close(ready[0]);
    close(ready[1]);
    for (;;) pause();
  }
  close(ready[1]);
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 0);
  close(ready[0]);
  write(folder + "tmp_pack_new", "half", std::chrono::seconds(-5));
  EXPECT_EQ(remove_temporary_packs(*repository.repository()), 2U);
  EXPECT_TRUE(fs::exists(folder + "tmp_pack_new"));
  kill(writer, SIGKILL);
  waitpid(writer, nullptr, 0);
  EXPECT_EQ(remove_temporary_packs(*repository.repository()), 1U);
  EXPECT_TRUE(fs::exists(folder + "pack-aa.pack"));
}

}  // namespace
}  // namespace weir::git
