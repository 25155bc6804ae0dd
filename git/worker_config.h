#pragma once
// Reads what a repository's configuration says about serving it: <common_dir>/config, the files it
// includes and, with extensions.worktreeConfig, <git_dir>/config.worktree. Over libgit2's file
// parser; conditional includes, which need more than the file, make git itself print it. Workers
// only; blocks. Malformed files: Errc::corrupt with a text that names file and line.

#include <string>

#include "git/repository.h"
#include "git/worker_git.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::size_t kConfigFilesMax = 64;  // included ones too

io::Result<RepositoryConfig> read_repository_config(const std::string& git_dir,
                                                    const std::string& common_dir,
                                                    const GitRunner& git, std::string& problem);

}  // namespace weir::git
