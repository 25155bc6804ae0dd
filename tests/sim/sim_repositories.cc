#include "tests/sim/sim_repositories.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "io/check.h"

namespace weir::sim {
namespace {

namespace fs = std::filesystem;

// Refs, names and packed-refs alike, are written by hand where a run needs them anew: thousands of
// runs cannot wait for git.
void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// In memory if that can be: each push is written down durably.
std::string base_folder() {
  return ::access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : fs::temp_directory_path().string();
}

}  // namespace

SimRepositories::SimRepositories() {
  std::string pattern = base_folder() + "/weir-sim-XXXXXX";
  WEIR_CHECK(::mkdtemp(pattern.data()) != nullptr);
  folder_ = fs::canonical(pattern).string();
  root_ = folder_ + "/root";
  state_ = folder_ + "/state";
  fs::create_directories(state_);
  for (const char* name : {"/open/static.git", "/acme/moving.git"}) {
    fs::create_directories(root_ + name);
    git(root_ + name, "init -q --bare -b main .");
  }
  const std::string fixed = root_ + "/open/static.git";
  const auto commit = [this](const std::string& where, const std::string& message,
                             const std::string& parent) {
    const std::string tree = git(where, "hash-object -t tree -w /dev/null");
    return git(where, "commit-tree " + tree + parent + " -m " + message);
  };
  reachable_ = commit(fixed, "first", "");
  const std::string second = commit(fixed, "second", " -p " + reachable_);
  const std::string side = commit(fixed, "side", " -p " + reachable_);
  unreachable_ = commit(fixed, "hidden", "");
  git(fixed, "update-ref refs/heads/main " + second);
  git(fixed, "update-ref refs/heads/side " + side);
  git(fixed, "tag -a v1 -m v1 " + second);
  git(fixed, "update-ref refs/secret/one " + unreachable_);
  git(fixed, "pack-refs --all");
  git(fixed, "update-ref refs/heads/loose " + side);
  git(fixed, "config transfer.hideRefs refs/secret");
  std::istringstream listed(git(fixed,
                                "for-each-ref --format='%(refname) %(objectname)' "
                                "refs/heads refs/tags"));
  for (std::string name, id; listed >> name >> id;) static_refs_[name] = id;
  static_refs_["HEAD"] = second;
  static_refs_["refs/tags/v1^{}"] = second;

  const std::string base = commit(moving(), "base", "");
  pushed_ = commit(moving(), "pushed", " -p " + base);
  moving_refs_ = {{"HEAD", base}, {"refs/heads/main", base}};
  reset_moving();
}

SimRepositories::~SimRepositories() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string SimRepositories::git(const std::string& repository, const std::string& command) const {
  const std::string full =
      "cd " + repository +
      " && HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 LC_ALL=C GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b "
      "GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='1700000000 +0000' "
      "GIT_COMMITTER_DATE='1700000000 +0000' git -c safe.directory='*' " +
      command;
  FILE* const pipe = ::popen(full.c_str(), "r");
  WEIR_CHECK(pipe != nullptr);
  std::string out;
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    out.append(buffer, got);
  }
  WEIR_CHECK(::pclose(pipe) == 0);
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

void SimRepositories::reset_moving() {
  for (const char* name : {"/refs", "/packed-refs", "/HEAD.lock"}) fs::remove_all(moving() + name);
  fs::create_directories(moving() + "/refs/heads");
  fs::create_directories(moving() + "/refs/tags");
  write(moving() + "/refs/heads/main", moving_refs_.at("refs/heads/main") + "\n");
}

void SimRepositories::move_ref(const std::string& ref, const std::string& id) {
  const std::string path = moving() + "/" + ref;
  write(path + ".lock", id + "\n");
  fs::rename(path + ".lock", path);
}

void SimRepositories::leave_lock(const std::string& ref) {
  write(moving() + "/" + ref + ".lock", "");
}

std::size_t SimRepositories::locks() const {
  std::size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(moving() + "/refs")) {
    if (entry.path().extension() == ".lock") ++count;
  }
  return count;
}

git::WorkerReply SimRepositories::ask_worker(const git::WorkerRequest& request) {
  git::WorkerRequest plain = request;
  plain.time_ms_max = 60'000;
  const auto [known, is_new] = replies_.try_emplace(git::encode_frame(plain));
  if (is_new) known->second = worker_.handle(plain);
  return known->second;
}

}  // namespace weir::sim
