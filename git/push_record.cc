#include "git/push_record.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <utility>

#include "git/receive_commands.h"
#include "io/process_identity.h"

namespace weir::git {
namespace {

constexpr std::string_view kFirstLine = "weir push 1";

template <typename Number>
bool parse_number(std::string_view text, Number& value) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc{} && stopped == end;
}

bool one_line(std::string_view text) {
  return text.find('\n') == text.npos;
}

}  // namespace

bool PushRecord::storable() const {
  return one_line(git_dir) && one_line(common_dir) && one_line(request_id) &&
         std::ranges::all_of(refs, [](const std::string& ref) { return one_line(ref); });
}

std::string PushRecord::serialize() const {
  std::string text(kFirstLine);
  const auto line = [&text](std::string_view key, std::string_view value) {
    text += '\n';
    text += key;
    text += ' ';
    text += value;
  };
  line("pid", std::to_string(pid));
  line("start_ticks", std::to_string(start_ticks));
  line("boot_id", boot_id);
  line("started_unix_ns", std::to_string(started_unix_ns));
  line("git_dir", git_dir);
  line("common_dir", common_dir);
  line("request_id", request_id);
  for (const std::string& ref : refs) line("ref", ref);
  return text + "\nend\n";
}

std::optional<PushRecord> PushRecord::parse(std::string_view text) {
  if (!text.ends_with("\nend\n")) return std::nullopt;
  text.remove_suffix(4);
  PushRecord record;
  bool first = true;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (std::exchange(first, false)) {
      if (line != kFirstLine) return std::nullopt;
      continue;
    }
    const std::size_t space = line.find(' ');
    if (space == line.npos) return std::nullopt;
    const std::string_view key = line.substr(0, space);
    const std::string_view value = line.substr(space + 1);
    bool sound = true;
    if (key == "pid") {
      sound = parse_number(value, record.pid);
    } else if (key == "start_ticks") {
      sound = parse_number(value, record.start_ticks);
    } else if (key == "boot_id") {
      record.boot_id = value;
    } else if (key == "started_unix_ns") {
      sound = parse_number(value, record.started_unix_ns);
    } else if (key == "git_dir") {
      record.git_dir = value;
    } else if (key == "common_dir") {
      record.common_dir = value;
    } else if (key == "request_id") {
      record.request_id = value;
    } else if (key == "ref") {
      sound = valid_push_ref(value, true);  // it becomes part of a path
      record.refs.emplace_back(value);
    }
    if (!sound) return std::nullopt;
  }
  if (record.pid <= 0 || record.started_unix_ns <= 0 || !record.git_dir.starts_with('/') ||
      !record.common_dir.starts_with('/')) {
    return std::nullopt;
  }
  return record;
}

bool PushRecord::child_runs() const {
  return boot_id == current_boot_id() && io::process_runs(pid, start_ticks);
}

const std::string& current_boot_id() {
  static const std::string id = [] {
    std::string line;
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::getline(file, line);
    return line;
  }();
  return id;
}

}  // namespace weir::git
