#pragma once
// RepositoryView: a repository's objects as a planner sees them: the mapped files of one moment,
// and what was worked out from them (orders, tables, sets of visible objects). Answers plans. Files
// that were deleted since stay readable, so a view is never wrong, only incomplete. One thread;
// planner processes and tests only. What it keeps beyond the mapped files is bounded by the parts
// (caches of contents and re-encoded objects, a few sets) and about 20 bytes an object.

#include <cstdint>
#include <memory>
#include <vector>

#include "git/fetch_plan.h"
#include "git/object_id.h"
#include "git/repository_file.h"
#include "io/error.h"
#include "io/file_mapping.h"

namespace weir::git {

struct MappedRepositoryFile {
  RepositoryFile file;
  io::FileMapping mapping;
};

class RepositoryView {
 public:
  // The index of a file in `files` is the one that recipes use.
  static io::Result<std::unique_ptr<RepositoryView>> open(std::vector<MappedRepositoryFile> files,
                                                          ObjectFormat format);
  ~RepositoryView();

  // `visible`: what the asker may see. Never throws away more than the plan: errors are in the
  // reply.
  PlanReply plan(const PlanRequest& request, const VisibleTips& visible);

 private:
  struct Impl;
  explicit RepositoryView(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::git
