#include "io/launcher_protocol.h"

#include <algorithm>
#include <string_view>

#include "io/check.h"

namespace weir::io {
namespace {

enum class Kind : std::uint8_t {
  spawn = 1,
  finish,
  let_go,
  kill,
  spawned = 16,
  spawn_failed,
  exited,
};

constexpr std::uint8_t kMergeStderr = 1, kChannel = 2, kMayFinish = 4;

class Writer {
 public:
  explicit Writer(Kind kind) { bytes_.push_back(static_cast<std::uint8_t>(kind)); }
  void number(std::uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) {
      bytes_.push_back(static_cast<std::uint8_t>(value >> shift));
    }
  }
  void text(std::string_view value) {
    number(value.size());
    bytes_.insert(bytes_.end(), value.begin(), value.end());
  }
  void list(const std::vector<std::string>& values) {
    number(values.size());
    for (const std::string& value : values) text(value);
  }
  std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;
};

// After the first thing that is wrong, all values are empty and finished() is false.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : rest_(bytes) {}

  std::uint8_t byte() {
    if (rest_.empty()) return fail(), std::uint8_t{0};
    const std::uint8_t value = rest_[0];
    rest_ = rest_.subspan(1);
    return value;
  }
  std::uint64_t number() {
    std::uint64_t value = 0;
    if (rest_.size() < 8) return fail(), 0;
    for (std::size_t i = 0; i < 8; ++i) value |= std::uint64_t{rest_[i]} << (8 * i);
    rest_ = rest_.subspan(8);
    return value;
  }
  std::uint64_t number(std::uint64_t min, std::uint64_t max) {
    const std::uint64_t value = number();
    if (value < min || value > max) return fail(), min;
    return value;
  }
  // Without NUL: these become C strings.
  std::string text(std::size_t bytes_max = kLauncherMessageBytesMax) {
    const std::size_t length = number(0, bytes_max);
    if (length > rest_.size()) return fail(), std::string();
    std::string value(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(length));
    rest_ = rest_.subspan(length);
    if (value.find('\0') != std::string::npos) return fail(), std::string();
    return value;
  }
  std::vector<std::string> list() {
    std::vector<std::string> values;
    const std::size_t count = number(0, kLauncherStringsMax);
    for (std::size_t i = 0; i < count && !failed_; ++i) values.push_back(text());
    return values;
  }
  bool finished() const { return !failed_ && rest_.empty(); }

 private:
  void fail() {
    failed_ = true;
    rest_ = {};
  }
  std::span<const std::uint8_t> rest_;
  bool failed_ = false;
};

bool acceptable(const SubprocessSpec& spec) {
  const auto has_nul = [](const std::string& s) { return s.find('\0') != std::string::npos; };
  if (spec.argv.empty() || spec.argv.size() > kLauncherStringsMax) return false;
  if (spec.env.size() > kLauncherStringsMax) return false;
  if (!spec.argv[0].starts_with('/')) return false;
  if (!spec.working_directory.empty() && spec.working_directory[0] != '/') return false;
  if (spec.nice < 0 || spec.nice > 19) return false;
  if (spec.files_max < 16 || spec.files_max > kChildFilesMax) return false;
  if (spec.write_paths.size() > kLauncherStringsMax) return false;
  if (spec.rights == ChildRights::read_only && !spec.write_paths.empty()) return false;
  if (std::ranges::any_of(spec.write_paths, [&](const std::string& path) {
        return !path.starts_with('/') || has_nul(path);
      })) {
    return false;
  }
  if (std::ranges::any_of(spec.argv, has_nul) || has_nul(spec.working_directory)) return false;
  return std::ranges::all_of(spec.env, [&](const std::string& variable) {
    const std::size_t equals = variable.find('=');
    return equals != std::string::npos && equals != 0 && !has_nul(variable);
  });
}

std::vector<std::uint8_t> write_spawn(const SpawnRequest& request) {
  const SubprocessSpec& spec = request.spec;
  Writer out(Kind::spawn);
  out.number(request.id);
  out.list(spec.argv);
  out.list(spec.env);
  out.text(spec.working_directory);
  out.number(static_cast<std::uint64_t>(spec.rights));
  out.list(spec.write_paths);
  out.number(static_cast<std::uint64_t>(spec.nice));
  out.number(spec.cpu_s_max);
  out.number(spec.data_bytes_max);
  out.number(spec.file_bytes_max);
  out.number(spec.files_max);
  out.number((spec.merge_stderr ? kMergeStderr : 0U) | (spec.channel ? kChannel : 0U) |
             (spec.may_finish ? kMayFinish : 0U));
  return out.take();
}

SpawnRequest read_spawn(Reader& in) {
  SpawnRequest request;
  SubprocessSpec& spec = request.spec;
  request.id = in.number();
  spec.argv = in.list();
  spec.env = in.list();
  spec.working_directory = in.text();
  spec.rights = in.number(0, 1) == 1 ? ChildRights::read_write : ChildRights::read_only;
  spec.write_paths = in.list();
  spec.nice = static_cast<int>(in.number(0, 19));
  spec.cpu_s_max = in.number();
  spec.data_bytes_max = in.number();
  spec.file_bytes_max = in.number();
  spec.files_max = in.number();
  const std::uint64_t flags = in.number(0, kMergeStderr | kChannel | kMayFinish);
  spec.merge_stderr = (flags & kMergeStderr) != 0;
  spec.channel = (flags & kChannel) != 0;
  spec.may_finish = (flags & kMayFinish) != 0;
  return request;
}

}  // namespace

Result<std::vector<std::uint8_t>> encode(const LauncherRequest& request) {
  if (const auto* spawn = std::get_if<SpawnRequest>(&request)) {
    if (!acceptable(spawn->spec)) return fail(Errc::invalid, "subprocess spec");
    std::vector<std::uint8_t> bytes = write_spawn(*spawn);
    if (bytes.size() > kLauncherMessageBytesMax) return fail(Errc::limit, "subprocess spec");
    return bytes;
  }
  if (const auto* kill = std::get_if<KillRequest>(&request)) {
    Writer out(Kind::kill);
    out.number(kill->id);
    out.number(static_cast<std::uint64_t>(kill->signal));
    return out.take();
  }
  const auto* finish = std::get_if<FinishRequest>(&request);
  Writer out(finish != nullptr ? Kind::finish : Kind::let_go);
  out.number(finish != nullptr ? finish->id : std::get<LetGoRequest>(request).id);
  return out.take();
}

std::vector<std::uint8_t> encode(const LauncherReply& reply) {
  if (const auto* spawned = std::get_if<SpawnedReply>(&reply)) {
    Writer out(Kind::spawned);
    out.number(spawned->id);
    out.number(static_cast<std::uint64_t>(spawned->pid));
    out.number(spawned->start_ticks);
    return out.take();
  }
  if (const auto* failed = std::get_if<SpawnFailedReply>(&reply)) {
    WEIR_CHECK(failed->step.size() <= kSpawnStepBytesMax);
    Writer out(Kind::spawn_failed);
    out.number(failed->id);
    out.number(static_cast<std::uint64_t>(failed->sys_errno));
    out.text(failed->step);
    return out.take();
  }
  const auto& exited = std::get<ExitedReply>(reply);
  Writer out(Kind::exited);
  out.number(exited.id);
  out.number(static_cast<std::uint64_t>(exited.status.code));
  out.number(exited.status.signalled ? 1 : 0);
  out.number(exited.status.cpu_us);
  out.number(exited.status.rss_bytes_max);
  return out.take();
}

Result<LauncherRequest> decode_request(std::span<const std::uint8_t> bytes) {
  Reader in(bytes);
  LauncherRequest request;
  bool sound = true;
  switch (static_cast<Kind>(in.byte())) {
    case Kind::spawn:
      request = read_spawn(in);
      sound = acceptable(std::get<SpawnRequest>(request).spec);
      break;
    case Kind::finish:
      request = FinishRequest{in.number()};
      break;
    case Kind::let_go:
      request = LetGoRequest{in.number()};
      break;
    case Kind::kill: {
      const std::uint64_t id = in.number();
      request = KillRequest{id, static_cast<int>(in.number(1, 64))};
      break;
    }
    default:
      sound = false;
  }
  if (!sound || !in.finished()) return fail(Errc::protocol, "launcher request");
  return request;
}

Result<LauncherReply> decode_reply(std::span<const std::uint8_t> bytes) {
  Reader in(bytes);
  LauncherReply reply;
  bool known = true;
  switch (static_cast<Kind>(in.byte())) {
    case Kind::spawned: {
      SpawnedReply spawned;
      spawned.id = in.number();
      spawned.pid = static_cast<std::int32_t>(in.number(1, INT32_MAX));
      spawned.start_ticks = in.number();
      reply = spawned;
      break;
    }
    case Kind::spawn_failed: {
      SpawnFailedReply failed;
      failed.id = in.number();
      failed.sys_errno = static_cast<int>(in.number(0, 4095));
      failed.step = in.text(kSpawnStepBytesMax);
      reply = failed;
      break;
    }
    case Kind::exited: {
      ExitedReply exited;
      exited.id = in.number();
      exited.status.code = static_cast<int>(in.number(0, 255));
      exited.status.signalled = in.number(0, 1) == 1;
      exited.status.cpu_us = in.number();
      exited.status.rss_bytes_max = in.number();
      reply = exited;
      break;
    }
    default:
      known = false;
  }
  if (!known || !in.finished()) return fail(Errc::protocol, "launcher reply");
  return reply;
}

}  // namespace weir::io
