#pragma once
// PushRecord: what is written down about a push before its child may change anything, so that
// whoever finds the child dead can remove what it left. A value. The stored form is lines of text
// that end with "end": a record cut short by a crash is not one.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::git {

struct PushRecord {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;     // of the child, so that a reused pid is not taken for it
  std::string boot_id;               // of this kernel: after a boot nothing of before runs
  std::int64_t started_unix_ns = 0;  // the child has changed nothing before
  std::string git_dir;
  std::string common_dir;
  std::vector<std::string> refs;  // valid names; those a ref stands for (symbolic) included
  std::string request_id;

  // False when the paths or names hold a line feed: such a record could not be read again.
  bool storable() const;
  std::string serialize() const;
  static std::optional<PushRecord> parse(std::string_view text);
  // The child still runs.
  bool child_runs() const;
};

// The kernel's id of this boot.
const std::string& current_boot_id();

}  // namespace weir::git
