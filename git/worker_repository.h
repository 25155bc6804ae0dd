#pragma once
// WorkerRepositories: what a git worker does for a loop, request by request. Single-threaded,
// blocking, in a process of its own that may be killed at any moment. Keeps object databases open
// and, for the reachability of wants, sets of tips and of reachable ids by the tips' digest: at
// most kTipSetBytesMax, least recently used first out. Every request ends by its own deadline.

#include <array>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "git/worker_objects.h"
#include "git/worker_protocol.h"

namespace weir::git {

inline constexpr std::size_t kTipSetBytesMax = 64UL * 1024 * 1024;
inline constexpr int kReftableGit[2] = {2, 45};  // the first git that reads reftable

class WorkerRepositories {
 public:
  explicit WorkerRepositories(std::string git_path) : git_path_(std::move(git_path)) {}
  WorkerReply handle(const WorkerRequest& request);

 private:
  // Ids cut to 20 bytes: still no two objects anybody can make share one.
  using ShortId = std::array<std::uint8_t, 20>;
  struct TipSet {
    std::string key;
    std::vector<ObjectId> tips;                     // sorted
    std::optional<std::vector<ObjectId>> tags;      // tips that are tags and what they nest
    std::optional<std::vector<ShortId>> reachable;  // all objects
    std::size_t bytes() const;
  };

  io::Result<std::vector<ObjectId>> peel(const WorkerRequest& request, const GitRunner& git);
  // The first want that is not allowed, or a null id.
  io::Result<ObjectId> check_wants(const WorkerRequest& request, TipSet& tips,
                                   const GitRunner& git);
  io::Result<ObjectId> check_commits(const std::vector<ObjectId>& wants, const TipSet& tips,
                                     const GitRunner& git);
  io::Result<ObjectId> check_objects(const WorkerRequest& request,
                                     const std::vector<ObjectId>& wants, TipSet& tips,
                                     const GitRunner& git);
  io::Result<void> load_tags(const WorkerRequest& request, TipSet& tips, const GitRunner& git);
  io::Result<LooseRefs> list_refs(const GitRunner& git, std::string& problem);
  TipSet* find_tips(const WorkerRequest& request);
  void trim_tips();

  const std::string git_path_;
  ObjectReader objects_;
  std::list<TipSet> tip_sets_;  // most recently used first
};

}  // namespace weir::git
