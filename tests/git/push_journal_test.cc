#include "git/push_journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include "io/process_identity.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

namespace fs = std::filesystem;

std::int64_t unix_now_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// A process that waits in a folder, as a git child does.
class Waiting {
 public:
  explicit Waiting(const std::string& folder) {
    int ready[2];
    if (pipe(ready) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      setpgid(0, 0);
      if (chdir(folder.c_str()) != 0) _exit(1);
      close(ready[0]);
      close(ready[1]);
      for (;;) pause();
    }
    close(ready[1]);
    char byte;
    (void)!read(ready[0], &byte, 1);  // returns when the child has changed its folder
    close(ready[0]);
    start_ticks_ = io::process_start_ticks(pid_);
  }
  ~Waiting() { end(); }
  void end() {
    if (pid_ <= 1) return;
    kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  std::uint64_t start_ticks() const { return start_ticks_; }

 private:
  pid_t pid_ = -1;
  std::uint64_t start_ticks_ = 0;
};

class PushJournalTest : public testing::Test {
 protected:
  PushRecord record_of(const Waiting& child) const {
    PushRecord record;
    record.pid = child.pid();
    record.start_ticks = child.start_ticks();
    record.started_unix_ns = unix_now_ns();
    record.git_dir = record.common_dir = repository.path();
    record.refs = {"refs/heads/main", "refs/heads/a/b"};
    record.request_id = "r1";
    return record;
  }
  void leave_files() const {
    for (const char* file : {"refs/heads/main.lock", "HEAD.lock", "packed-refs.lock",
                             "objects/tmp_objdir-incoming-abc/pack/x.pack"}) {
      repository.write(file, "x");
    }
    repository.write("refs/heads/other.lock", "not named in the record");
  }
  bool there(const std::string& file) const { return fs::exists(repository.path() + "/" + file); }
  std::size_t records() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
  }

  ScratchRepository repository;
  std::string directory = repository.folder() + "/pushes";
};

TEST_F(PushJournalTest, a_dead_childs_locks_and_quarantine_are_removed) {
  PushJournal journal(directory);
  Waiting child(repository.path());
  const io::Result<std::string> name = journal.begin(record_of(child));
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(records(), 1U);
  leave_files();
  child.end();
  journal.child_died(*name);
  EXPECT_FALSE(there("refs/heads/main.lock") || there("HEAD.lock") || there("packed-refs.lock"));
  EXPECT_FALSE(there("objects/tmp_objdir-incoming-abc"));
  EXPECT_TRUE(there("refs/heads/other.lock"));
  EXPECT_EQ(records(), 0U);
}

TEST_F(PushJournalTest, a_lock_that_a_refusing_child_could_not_remove_is_removed) {
  PushJournal journal(directory);
  Waiting child(repository.path());
  const io::Result<std::string> name = journal.begin(record_of(child));
  leave_files();
  child.end();
  journal.end_refusing(*name);
  EXPECT_FALSE(there("refs/heads/main.lock"));
  EXPECT_EQ(records(), 0U);
}

TEST_F(PushJournalTest, what_there_was_no_time_for_is_swept) {
  PushJournal journal(directory);
  Waiting child(repository.path());
  const io::Result<std::string> name = journal.begin(record_of(child));
  ASSERT_TRUE(name.has_value());
  leave_files();
  EXPECT_EQ(journal.sweep().records, 0U);  // its server looks after it
  child.end();
  journal.leave_to_sweep(*name);
  EXPECT_EQ(journal.sweep().records, 1U);
  EXPECT_FALSE(there("refs/heads/main.lock"));
}

TEST_F(PushJournalTest, a_dead_childs_pack_is_no_longer_kept) {
  repository.write("objects/pack/pack-e.pack", "of an earlier push");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // file times are compared
  PushJournal journal(directory);
  Waiting child(repository.path());
  const io::Result<std::string> name = journal.begin(record_of(child));
  ASSERT_TRUE(name.has_value());
  const auto mark = [&](const std::string& file, pid_t pid) {
    repository.write("objects/pack/" + file, "receive-pack " + std::to_string(pid) + " on host\n");
  };
  mark("pack-a.keep", child.pid());
  mark("pack-b.keep", child.pid() + 1);
  repository.write("objects/pack/pack-c.keep", "kept by the operator\n");
  repository.write("objects/pack/pack-d.keep", "");  // after a power cut
  repository.write("objects/pack/pack-d.pack", "of this push");
  repository.write("objects/pack/pack-e.keep", "");
  repository.write("objects/pack/pack-f.keep", "");
  child.end();
  journal.child_died(*name);
  EXPECT_FALSE(there("objects/pack/pack-a.keep"));
  EXPECT_TRUE(there("objects/pack/pack-b.keep"));
  EXPECT_TRUE(there("objects/pack/pack-c.keep"));
  EXPECT_FALSE(there("objects/pack/pack-d.keep"));
  EXPECT_TRUE(there("objects/pack/pack-e.keep")) << "its pack is older";
  EXPECT_TRUE(there("objects/pack/pack-f.keep")) << "it has no pack";
}

TEST_F(PushJournalTest, a_new_process_recovers_what_the_last_one_left) {
  Waiting child(repository.path());
  {
    PushJournal journal(directory);
    ASSERT_TRUE(journal.begin(record_of(child)).has_value());
  }
  leave_files();
  PushJournal next(directory);
  PushJournal::Swept swept = next.sweep();
  EXPECT_EQ(swept.running, 1U);  // the push goes on: nothing is touched
  EXPECT_TRUE(there("refs/heads/main.lock"));
  child.end();
  swept = next.sweep();
  EXPECT_EQ(swept.records, 1U);
  EXPECT_EQ(swept.leftovers.locks, 3U);
  EXPECT_EQ(swept.leftovers.quarantines, 1U);
  EXPECT_FALSE(there("refs/heads/main.lock"));
  EXPECT_EQ(records(), 0U);
}

TEST_F(PushJournalTest, a_lock_that_a_live_process_may_own_is_kept_until_it_has_ended) {
  PushJournal journal(directory);
  Waiting child(repository.path());
  const io::Result<std::string> name = journal.begin(record_of(child));
  Waiting other(repository.path());
  leave_files();
  child.end();
  journal.child_died(*name);
  EXPECT_TRUE(there("refs/heads/main.lock"));
  EXPECT_EQ(records(), 1U);
  other.end();
  EXPECT_EQ(journal.sweep().leftovers.locks, 3U);
  EXPECT_FALSE(there("refs/heads/main.lock"));
}

TEST_F(PushJournalTest, our_own_push_of_another_ref_does_not_keep_a_ref_locked) {
  PushJournal journal(directory);
  Waiting child(repository.path());
  const io::Result<std::string> name = journal.begin(record_of(child));
  Waiting other(repository.path());
  PushRecord other_record = record_of(other);
  other_record.refs = {"refs/heads/other"};
  ASSERT_TRUE(journal.begin(other_record).has_value());
  leave_files();
  child.end();
  journal.child_died(*name);
  EXPECT_FALSE(there("refs/heads/main.lock"));
  EXPECT_TRUE(there("packed-refs.lock"));  // the other push may hold this one
  EXPECT_TRUE(there("objects/tmp_objdir-incoming-abc"));
}

TEST_F(PushJournalTest, the_next_push_clears_the_way_for_itself) {
  PushJournal journal(directory);
  Waiting child(repository.path());
  const io::Result<std::string> name = journal.begin(record_of(child));
  Waiting other(repository.path());
  leave_files();
  child.end();
  journal.child_died(*name);
  other.end();
  Waiting next(repository.path());
  const io::Result<std::string> next_name = journal.begin(record_of(next));
  EXPECT_FALSE(there("refs/heads/main.lock"));
  journal.end(*next_name);
  EXPECT_EQ(records(), 0U);
}

TEST_F(PushJournalTest, an_older_lock_is_not_ours_to_remove) {
  repository.write("refs/heads/main.lock", "someone else's");
  PushJournal journal(directory);
  Waiting child(repository.path());
  PushRecord record = record_of(child);
  record.started_unix_ns += 1'000'000'000;  // far behind the lock, without waiting for it
  const io::Result<std::string> name = journal.begin(record);
  child.end();
  journal.child_died(*name);
  EXPECT_TRUE(there("refs/heads/main.lock"));
  EXPECT_EQ(records(), 0U);
}

TEST_F(PushJournalTest, what_a_killed_child_had_started_is_ended_too) {
  PushJournal journal(directory);
  Waiting child(repository.path());
  const io::Result<std::string> name = journal.begin(record_of(child));
  Waiting orphan(repository.path());
  ASSERT_EQ(setpgid(orphan.pid(), child.pid()), 0);
  leave_files();
  child.end();
  journal.child_died(*name);
  EXPECT_FALSE(there("refs/heads/main.lock"));
  EXPECT_FALSE(io::process_runs(orphan.pid(), orphan.start_ticks()));
}

TEST_F(PushJournalTest, a_record_that_cannot_be_read_is_dropped) {
  PushJournal journal(directory);
  std::ofstream(directory + "/1-2-3.push") << "weir push 1\npid 12\n";
  std::ofstream(directory + "/1-2-4.push.tmp") << "weir";
  EXPECT_EQ(journal.sweep().records, 0U);
  EXPECT_EQ(records(), 0U);
}

TEST_F(PushJournalTest, a_draft_is_removed_unless_another_server_may_be_writing_it) {
  Waiting child(repository.path());
  PushJournal journal(directory);
  const std::string live = std::to_string(child.pid()) + "-" + std::to_string(child.start_ticks());
  const std::string others[] = {"1-1-1.push.tmp", live + "1-1.push.tmp", "x.tmp", "7.push.tmp"};
  for (const std::string& name : others) std::ofstream(directory + "/" + name) << "cut sh";
  std::ofstream(directory + "/" + live + "-1.push.tmp") << "cut sh";
  journal.sweep();
  EXPECT_TRUE(fs::exists(directory + "/" + live + "-1.push.tmp"));
  EXPECT_EQ(records(), 1U);
  child.end();
  journal.sweep();
  EXPECT_EQ(records(), 0U);
}

TEST_F(PushJournalTest, what_a_server_that_drains_beside_us_leaves_is_found_later) {
  PushJournal journal(directory);
  journal.sweep();
  Waiting child(repository.path());
  {
    PushJournal draining(directory);
    ASSERT_TRUE(draining.begin(record_of(child)).has_value());
  }
  EXPECT_EQ(journal.sweep().running, 1U);
  leave_files();
  child.end();
  EXPECT_EQ(journal.sweep().leftovers.locks, 3U);
  EXPECT_EQ(records(), 0U);
}

TEST_F(PushJournalTest, what_another_server_has_settled_is_let_be) {
  PushJournal journal(directory);
  Waiting child(repository.path());
  PushJournal draining(directory);
  const io::Result<std::string> name = draining.begin(record_of(child));
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(journal.sweep().running, 1U);
  child.end();
  draining.end(*name);
  leave_files();  // of somebody else
  EXPECT_EQ(journal.sweep().leftovers.locks, 0U);
  EXPECT_TRUE(there("refs/heads/main.lock"));
}

TEST_F(PushJournalTest, a_folder_that_cannot_be_written_is_an_error) {
  PushJournal journal("/proc/nonexistent");
  Waiting child(repository.path());
  EXPECT_FALSE(journal.begin(record_of(child)).has_value());
}

TEST(PushRecord, reads_back_what_it_wrote) {
  PushRecord record;
  record.pid = 12;
  record.start_ticks = 34;
  record.boot_id = "b";
  record.started_unix_ns = 56;
  record.git_dir = "/srv/a b.git";
  record.common_dir = "/srv/c.git";
  record.refs = {"refs/heads/main"};
  record.request_id = "r";
  const std::optional<PushRecord> read = PushRecord::parse(record.serialize());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->pid, 12);
  EXPECT_EQ(read->start_ticks, 34U);
  EXPECT_EQ(read->git_dir, record.git_dir);
  EXPECT_EQ(read->refs, record.refs);
  record.git_dir += "\n";
  EXPECT_FALSE(record.storable());
}

TEST(PushRecord, refuses_what_it_did_not_write) {
  const std::string sound =
      "weir push 1\npid 1\nstarted_unix_ns 5\ngit_dir /a\ncommon_dir /b\nend\n";
  ASSERT_TRUE(PushRecord::parse(sound).has_value());
  for (const std::string& text : std::vector<std::string>{
           "", "end\n", "\nend\n", "weir push 2\npid 1\nend\n", sound.substr(0, sound.size() - 1),
           "weir push 1\npid x\nstarted_unix_ns 5\ngit_dir /a\ncommon_dir /b\nend\n",
           "weir push 1\npid 0\nstarted_unix_ns 5\ngit_dir /a\ncommon_dir /b\nend\n",
           "weir push 1\npid 1\nstarted_unix_ns 5\ngit_dir a\ncommon_dir /b\nend\n",
           "weir push 1\npid 1\nstarted_unix_ns 5\ngit_dir /a\ncommon_dir /b\n"
           "ref refs/heads/../../x\nend\n",
           "weir push 1\npid 1\nstarted_unix_ns 5\ngit_dir /a\ncommon_dir /b\nbroken\nend\n"}) {
    EXPECT_FALSE(PushRecord::parse(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace weir::git
