#pragma once
// `weir maintain [REPOSITORY...]`: says how each repository lies on disk, why a clone of it is slow
// and what would fix it, and does what is due (git/maintenance.h), one repository after the other,
// at idle priority. Blocking; a process of its own. Exit status: 0, or 1 if a repository was not
// found or git failed on one.

#include <string>
#include <vector>

namespace weir::server {

struct MaintainOptions {
  std::string root;
  std::string git_path;
  bool dry_run = false;
  bool brief = false;  // for the server: lines "<step> <result>", or "none <result>", each with why
};

// `names`: "<tenant>/<path>"; none: all below the root.
int maintain_command(const MaintainOptions& options, const std::vector<std::string>& names);

}  // namespace weir::server
