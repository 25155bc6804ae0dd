#pragma once
// How git is started: the argument list, the environment (nothing is inherited) and Weir's own
// configuration file. Settings that must hold whatever the repository says come with the
// environment; defaults that a repository may override stand in the file, as does the secret of
// signed pushes (never in an argument list). Stateless. Formats: git-config(1), git(1)
// "Environment Variables".

#include <string>
#include <string_view>

#include "git/service_call.h"
#include "io/error.h"
#include "io/subprocess.h"

namespace weir::git {

inline constexpr int kPushCertNonceSlopS = 900;  // from the advertisement to the push

// Writes the file (0600, replaced as a whole). Blocking; at start.
io::Result<void> write_git_config(const std::string& path, std::string_view push_cert_seed);

// `git upload-pack` or `git receive-pack`, stateless, on the call's repository. `any_want`: git
// gives what was not advertised, and counts hidden refs among those that reach a client's shallow
// commits.
io::SubprocessSpec git_command(const ServiceCall& call, Service service, bool any_want = false);

}  // namespace weir::git
