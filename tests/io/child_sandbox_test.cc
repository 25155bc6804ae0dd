// Children of start_child() under a policy: what they reach of files, sockets and processes.
#include "io/child_sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "io/launcher_child.h"

namespace weir::io {
namespace {

namespace fs = std::filesystem;

class ChildSandboxTest : public testing::Test {
 protected:
  ChildSandboxTest() {
    std::string name = "/tmp/weir-sandbox-XXXXXX";
    folder_ = fs::canonical(mkdtemp(name.data()));
    for (const char* folder : {"root/a/refs", "root/a/objects/quarantine", "root/b", "etc/conf",
                               "etc/keys", "outside"}) {
      fs::create_directories(folder_ / folder);
    }
    for (const char* file : {"root/a/HEAD", "root/b/HEAD", "etc/conf/one", "etc/two",
                             "etc/keys/key.pem", "outside/file"}) {
      std::ofstream(folder_ / file) << "content\n";
    }
    for (int fd = -1; fd < 10;) {  // as in the launcher: the low numbers are taken
      fd = open("/dev/null", O_RDWR | O_CLOEXEC);
      (fd < 10 ? held_ : spare_).emplace_back(fd);
    }
    policy_.programs = {"/bin/sh"};
    for (ChildReach* reach : {&policy_.readers, &policy_.writers}) {
      reach->read_paths = {"/usr",       "/bin",      "/lib",           "/lib64",
                           path("root"), path("etc"), path("not-there")};
      reach->write_paths = {"/dev/null"};
    }
    policy_.write_root = path("root");
    policy_.hidden_paths = {path("etc/keys")};
  }
  ~ChildSandboxTest() override { fs::remove_all(folder_); }

  std::string path(const char* name) const { return (folder_ / name).string(); }

  // The script's output, its last line the exit code; or "refused: <step>".
  std::string run(ChildRights rights, const std::string& script,
                  std::vector<std::string> write_paths = {}) {
    SubprocessSpec spec;
    spec.argv = {"/bin/sh", "-c", script};
    spec.env = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
    spec.working_directory = folder_.string();
    spec.rights = rights;
    spec.write_paths = std::move(write_paths);
    spec.merge_stderr = true;
    return run(spec);
  }
  std::string run(const SubprocessSpec& spec) {
    auto sandbox = ChildSandbox::make(policy_);
    if (!sandbox) return to_string(sandbox.error());
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return "pipe";
    UniqueFd output(ends[0]), childs(ends[1]);
    const int descriptors[] = {spare_[0].get(), childs.get()};
    auto child = start_child(spec, descriptors, &*sandbox);
    childs.reset();
    if (!child) return std::string("refused: ") + child.error().step;
    std::string text;
    char chunk[4096];
    ssize_t got = 0;
    while ((got = read(output.get(), chunk, sizeof chunk)) > 0) {
      text.append(chunk, static_cast<std::size_t>(got));
    }
    int status = 0;
    waitpid(child->pid, &status, 0);
    return text + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
  }
  static bool denied(const std::string& output) {
    return output.find("Permission denied") != std::string::npos && !output.ends_with("0");
  }

  fs::path folder_;
  std::vector<UniqueFd> held_, spare_;
  SandboxPolicy policy_;
};

class ChildSandboxFilesTest : public ChildSandboxTest {
 protected:
  void SetUp() override {
    if (landlock_version() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  }
};

TEST_F(ChildSandboxTest, only_the_programs_of_the_policy_are_started) {
  SubprocessSpec spec;
  spec.argv = {"/usr/bin/env"};
  spec.merge_stderr = true;
  EXPECT_EQ(run(spec), "refused: program");
  EXPECT_EQ(run(ChildRights::read_only, "exit 3"), "3");
}

TEST_F(ChildSandboxTest, children_carry_a_filter_and_gain_no_privileges) {
  policy_.readers.read_paths.emplace_back("/proc");
  const std::string status =
      run(ChildRights::read_only, "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status");
  EXPECT_EQ(status, "NoNewPrivs:\t1\nSeccomp:\t2\n0");
}

TEST_F(ChildSandboxFilesTest, who_gives_up_all_files_opens_none_and_reads_on) {
  const pid_t pid = fork();
  if (pid == 0) {
    const int before = open(path("root/a/HEAD").c_str(), O_RDONLY | O_CLOEXEC);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !restrict_all_files()) _exit(100);
    char byte = 0;
    if (pread(before, &byte, 1, 0) != 1) _exit(101);
    for (const std::string& one : {path("root/a/HEAD"), std::string("/"), std::string("/dev/null"),
                                   std::string("/proc/self/status")}) {
      if (open(one.c_str(), O_RDONLY | O_CLOEXEC) >= 0) _exit(102);
      if (errno != EACCES) _exit(103);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0) << WEXITSTATUS(status);
}

TEST_F(ChildSandboxFilesTest, a_reader_reads_what_it_was_given_and_changes_nothing) {
  EXPECT_EQ(run(ChildRights::read_only, "cat root/a/HEAD root/b/HEAD"), "content\ncontent\n0");
  for (const char* script :
       {"cat outside/file", "ls outside", "cat etc/keys/key.pem", "ls etc/keys",
        "echo x > root/a/new", "echo x >> root/a/HEAD", "rm root/a/HEAD", "mkdir root/a/new",
        "mv root/a/HEAD root/a/OLD", "ln -s x root/a/link", "ln root/a/HEAD root/a/hard",
        "echo x > /tmp/weir-sandbox-escape"}) {
    EXPECT_TRUE(denied(run(ChildRights::read_only, script))) << script;
  }
  EXPECT_EQ(run(ChildRights::read_only, "echo x > /dev/null"), "0");
  std::string text;
  std::getline(std::ifstream(path("root/a/HEAD")), text);
  EXPECT_EQ(text, "content");
}

TEST_F(ChildSandboxFilesTest, what_lies_beside_a_hidden_folder_is_readable_still) {
  EXPECT_EQ(run(ChildRights::read_only, "cat etc/two etc/conf/one"), "content\ncontent\n0");
  policy_.readers.read_paths.push_back(path("etc/keys"));  // by name: the operator's word counts
  EXPECT_EQ(run(ChildRights::read_only, "cat etc/keys/key.pem"), "content\n0");
}

TEST_F(ChildSandboxFilesTest, a_writer_changes_its_own_folders_only) {
  const std::vector<std::string> own = {path("root/a")};
  EXPECT_EQ(
      run(ChildRights::read_write,
          "cd root/a && echo x > objects/quarantine/o && mv objects/quarantine/o objects/o && "
          "ln objects/o refs/o && rm refs/o && : > HEAD",
          own),
      "0");
  for (const char* script : {"echo x > root/b/new", "echo x > root/new", "rm root/b/HEAD",
                             "mv root/a/objects/o root/b/o", "ln root/a/HEAD root/b/hard",
                             "echo x > etc/two", "echo x > outside/file", "cat outside/file"}) {
    const std::string output = run(ChildRights::read_write, script, own);
    EXPECT_FALSE(output.ends_with("0")) << script << ": " << output;
  }
}

TEST_F(ChildSandboxFilesTest, folders_to_write_lie_below_the_root) {
  fs::create_directory_symlink(folder_ / "outside", folder_ / "root/link");
  for (const char* folder : {"outside", "root", "root/../outside", "root/link", "root/none"}) {
    EXPECT_TRUE(run(ChildRights::read_write, "true", {path(folder)}).starts_with("refused: "))
        << folder;
  }
  EXPECT_TRUE(run(ChildRights::read_write, "true", {"/"}).starts_with("refused: "));
}

TEST_F(ChildSandboxFilesTest, nobody_outside_can_be_signalled_or_looked_into) {
  policy_.readers.read_paths.emplace_back("/proc");
  const std::string us = std::to_string(getpid());
  // Not environ: a root with its capabilities reads that of anybody.
  for (const char* link : {"/exe", "/cwd", "/fd/0"}) {
    const std::string looked = run(ChildRights::read_only, "readlink -v /proc/" + us + link);
    EXPECT_TRUE(denied(looked)) << link << ": " << looked;
  }
  EXPECT_TRUE(denied(run(ChildRights::read_only, ": < /proc/" + us + "/mem")));
  EXPECT_EQ(run(ChildRights::read_only, "sleep 100 & kill $!; wait; exit 5"), "5");
  if (landlock_version() < 6) return;
  EXPECT_NE(run(ChildRights::read_only, "kill -0 " + us).find("not permitted"), std::string::npos);
}

}  // namespace
}  // namespace weir::io
