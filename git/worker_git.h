#pragma once
// GitRunner: runs git from a worker process and streams its output, for what libgit2 cannot do.
// Blocks until git has ended, the consumer has seen enough, or the deadline has passed; git is
// killed then. Its environment is built from nothing: no system or user configuration, no
// transports, no replacement objects, as upload-pack itself ignores them. Workers only.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/clock.h"
#include "io/error.h"

namespace weir::git {

class GitRunner {
 public:
  GitRunner(std::string git_path, std::string git_dir, io::Instant deadline)
      : git_path_(std::move(git_path)), git_dir_(std::move(git_dir)), deadline_(deadline) {}

  // Gets the next bytes of output; false: enough, end git.
  using Consumer = std::function<bool(std::string_view)>;
  // Errors: unavailable (git could not run or failed), deadline_exceeded.
  io::Result<void> run(std::vector<std::string> arguments, std::string_view input,
                       const Consumer& consumer) const;
  // The same, a line at a time without its LF.
  io::Result<void> run_lines(std::vector<std::string> arguments, std::string_view input,
                             const Consumer& consumer) const;
  // All output, at most `bytes_max`; Errc::limit beyond.
  io::Result<std::string> output(std::vector<std::string> arguments, std::string_view input,
                                 std::size_t bytes_max) const;

  io::Instant deadline() const { return deadline_; }

 private:
  const std::string git_path_;
  const std::string git_dir_;
  const io::Instant deadline_;
};

}  // namespace weir::git
