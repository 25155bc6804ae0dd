#pragma once
// A repository in a temporary folder, changed by real git, for tests that compare with it.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "git/repository.h"

namespace weir::git {

class ScratchRepository {
 public:
  explicit ScratchRepository(const std::string& init_options = "") {
    char name[] = "/tmp/weir-refs-XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    folder_ = name;
    path_ = folder_ + "/a.git";
    run("git init -q --bare -b main " + init_options + " " + path_);
    repository_ = std::make_shared<Repository>();
    repository_->name = "tenant/a";
    repository_->git_dir = repository_->common_dir = path_;
  }
  ~ScratchRepository() { std::filesystem::remove_all(folder_); }
  ScratchRepository(const ScratchRepository&) = delete;
  ScratchRepository& operator=(const ScratchRepository&) = delete;

  const std::string& path() const { return path_; }
  const std::string& folder() const { return folder_; }
  std::shared_ptr<const Repository> repository() const { return repository_; }
  std::shared_ptr<Repository> mutable_repository() { return repository_; }

  // Runs a shell command (with `input` on stdin) and returns its output; it must succeed.
  std::string run(const std::string& command, const std::string& input = "") const {
    const std::string in = folder_ + "/stdin";
    std::ofstream(in, std::ios::binary) << input;
    const std::string full =
        "export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 LC_ALL=C GIT_AUTHOR_NAME=a "
        "GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b "
        "GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'; exec < " +
        in + "; " + command;
    FILE* const pipe = popen(full.c_str(), "r");
    std::string out;
    char buffer[65536];
    for (std::size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
    EXPECT_EQ(pclose(pipe), 0) << command;
    return out;
  }
  // `git <arguments>` in the repository; output without the last newline.
  std::string git(const std::string& arguments, const std::string& input = "") const {
    std::string out = run("git -C " + path_ + " " + arguments, input);
    if (out.ends_with('\n')) out.pop_back();
    return out;
  }
  // A commit on the empty tree; returns its id.
  std::string commit(const std::string& message, const std::string& parent = "") const {
    return git("commit-tree " + empty_tree() + (parent.empty() ? "" : " -p " + parent) + " -m '" +
               message + "'");
  }
  std::string empty_tree() const { return git("hash-object -t tree -w --stdin"); }
  void write(const std::string& file, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(path_ + "/" + file).parent_path());
    std::ofstream(path_ + "/" + file, std::ios::binary) << content;
  }
  std::string read(const std::string& file) const {
    std::stringstream out;
    out << std::ifstream(path_ + "/" + file, std::ios::binary).rdbuf();
    return out.str();
  }

 private:
  std::string folder_;
  std::string path_;
  std::shared_ptr<Repository> repository_;
};

}  // namespace weir::git
