#include "io/process_identity.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "io/unique_fd.h"

namespace weir::io {
namespace {

struct ProcessStat {
  char state;
  std::uint64_t start_ticks;
};

// "pid (name) state ppid ...": the name may hold spaces and parentheses, so count from the last
// ')'.
std::optional<ProcessStat> read_stat(pid_t pid) {
  const UniqueFd fd(open(fmt::format("/proc/{}/stat", pid).c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[1024];
  const ssize_t bytes = fd.valid() ? read(fd.get(), buffer, sizeof buffer) : -1;
  if (bytes <= 0) return std::nullopt;
  std::string_view text(buffer, static_cast<std::size_t>(bytes));
  const std::size_t name_end = text.rfind(") ");
  if (name_end == std::string_view::npos || name_end + 3 > text.size()) return std::nullopt;
  text.remove_prefix(name_end + 2);
  ProcessStat stat{.state = text[0], .start_ticks = 0};
  for (int field = 3; field < 22; ++field) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    text.remove_prefix(space + 1);
  }
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), stat.start_ticks);
  if (parsed.ec != std::errc()) return std::nullopt;
  return stat;
}

}  // namespace

std::uint64_t process_start_ticks(pid_t pid) {
  const std::optional<ProcessStat> stat = read_stat(pid);
  return stat ? stat->start_ticks : 0;
}

bool process_runs(pid_t pid, std::uint64_t start_ticks) {
  const std::optional<ProcessStat> stat = read_stat(pid);
  return stat && stat->start_ticks == start_ticks && stat->state != 'Z' && stat->state != 'X';
}

std::string own_program() {
  char path[4096];
  const ssize_t bytes = readlink("/proc/self/exe", path, sizeof path);
  return bytes > 0 ? std::string(path, static_cast<std::size_t>(bytes)) : "weir";
}

}  // namespace weir::io
