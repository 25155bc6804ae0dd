#pragma once
// Log: JSON lines to one descriptor (stdout by default) by a writer thread. Loop threads append to
// a bounded buffer (kLogBufferBytesMax) and never block: when it is full the record is dropped and
// counted (weir_log_dropped_total). Records hold no secret: callers pass names and ids, never
// tokens, Authorization values, keys or query strings.

#include <cstdint>
#include <string>
#include <string_view>

#include "io/error.h"

namespace weir::io {

inline constexpr std::size_t kLogBufferBytesMax = 4 * 1024 * 1024;  // ~8,000 request records

enum class LogLevel : std::uint8_t { info, warn, error };

// Starts the writer thread on `fd` (borrowed). Before it starts, records go to stderr at once.
void log_start(int fd);
// A descriptor for log_start(): the file at `path`, appended to, or a copy of stdout for "".
Result<int> log_open(const std::string& path);
// From the next record on the log goes to what `path` names now (the file was moved away, or it is
// another path): the descriptor given to log_start() stands for it. No record is lost or cut.
Result<void> log_reopen(const std::string& path);
// Writes what is buffered and ends the thread.
void log_stop();

// One finished JSON object without the newline (the request log).
void log_record(std::string_view json);
// {"time":...,"level":...,"message":...}: operations, not requests.
void log_event(LogLevel level, std::string_view message);

// Appends `text` as the inside of a JSON string (quotes, controls and invalid UTF-8 escaped).
void append_json_escaped(std::string& out, std::string_view text);

}  // namespace weir::io
