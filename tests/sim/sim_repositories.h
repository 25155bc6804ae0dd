#pragma once
// SimRepositories: two real repositories on disk for simulated servers, made once by real git:
// open/static.git never changes, acme/moving.git is put back before each run. Object ids are the
// same on every machine. And what a git worker would say about them, asked once of the worker's own
// code and remembered. One thread; removed with the object.

#include <map>
#include <string>

#include "git/worker_repository.h"

namespace weir::sim {

class SimRepositories {
 public:
  SimRepositories();
  ~SimRepositories();
  SimRepositories(const SimRepositories&) = delete;
  SimRepositories& operator=(const SimRepositories&) = delete;

  const std::string& root() const { return root_; }
  const std::string& state() const { return state_; }  // a folder for what a server keeps
  std::string moving() const { return root_ + "/acme/moving.git"; }

  // Puts acme/moving.git back.
  void reset_moving();
  // As a receive-pack does it: the new file is renamed into its place.
  void move_ref(const std::string& ref, const std::string& id);
  // Leaves behind what a receive-pack that dies has not removed.
  void leave_lock(const std::string& ref);
  // Locks in acme/moving.git.
  std::size_t locks() const;

  using Refs = std::map<std::string, std::string>;          // name to id, in hex
  const Refs& static_refs() const { return static_refs_; }  // visible ones, with what tags peel to
  const Refs& moving_refs() const { return moving_refs_; }  // after reset_moving()
  const std::string& reachable() const { return reachable_; }      // not advertised, but allowed
  const std::string& unreachable() const { return unreachable_; }  // only from a hidden ref
  const std::string& pushed() const { return pushed_; }            // in acme/moving.git, for pushes

  git::WorkerReply ask_worker(const git::WorkerRequest& request);

 private:
  std::string git(const std::string& repository, const std::string& command) const;

  std::string folder_;
  std::string root_;
  std::string state_;
  Refs static_refs_;
  Refs moving_refs_;
  std::string reachable_, unreachable_, pushed_;
  git::WorkerRepositories worker_{"/usr/bin/git"};
  std::map<std::string, git::WorkerReply> replies_;
};

}  // namespace weir::sim
