#include "git/git_command.h"

#include <array>
#include <fstream>
#include <iterator>
#include <utility>

#include "io/durable_file.h"

namespace weir::git {
namespace {

// A child that needs more than this of heap is broken or abused; packs are mapped, not counted.
constexpr std::uint64_t kChildDataBytesMax = 4UL * 1024 * 1024 * 1024;

// Not for the repository to decide.
constexpr std::array<std::pair<std::string_view, std::string_view>, 15> kForced{{
    {"uploadpack.allowFilter", "true"},      // checked by us, before
    {"uploadpack.allowRefInWant", "false"},  // git 2.39 answers depth + want-ref wrongly
    {"uploadpack.allowSidebandAll", "false"},
    {"uploadpack.keepAlive", "5"},
    {"transfer.advertiseSID", "true"},  // accept what our advertisement may offer
    {"transfer.advertiseObjectInfo", "true"},
    {"gc.auto", "0"},  // maintenance is never part of a request
    {"maintenance.auto", "false"},
    {"receive.autogc", "false"},
    {"receive.keepAlive", "5"},
    {"pack.threads", "1"},  // a slot is one processor's worth
    {"pack.windowMemory", "128m"},
    {"core.fsync", "committed"},  // objects and refs; the folders are synced by us
    {"core.fsyncMethod", "batch"},
    {"core.useReplaceRefs", "false"},  // what is pushed must be whole without them
}};

// As git reads a quoted value.
std::string quoted(std::string_view value) {
  std::string out = "\"";
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

// A part of an identity: what git's format gives a meaning is replaced.
std::string identity_part(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f || c == '<' || c == '>') c = '_';
  }
  return out;
}

bool is_trace_parent(std::string_view text) {
  return !text.empty() && text.size() <= 128 &&
         text.find_first_not_of("0123456789abcdef-") == text.npos;
}

std::string parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return std::string(slash == path.npos || slash == 0 ? "/" : path.substr(0, slash));
}

}  // namespace

io::Result<void> write_git_config(const std::string& path, std::string_view push_cert_seed) {
  std::string text =
      "# Written by weir at each start. A repository's own config overrides it.\n"
      "[safe]\n\tdirectory = *\n"
      "[transfer]\n\tfsckObjects = true\n"
      "[pack]\n\tdeltaCacheSize = 64m\n"
      "[core]\n\tbigFileThreshold = 50m\n"
      "[receive]\n\tadvertisePushOptions = true\n\tadvertiseAtomic = true\n";
  if (!push_cert_seed.empty()) {
    text += "\tcertNonceSeed = " + quoted(push_cert_seed) + "\n";
    text += "\tcertNonceSlop = " + std::to_string(kPushCertNonceSlopS) + "\n";
  }
  // Unchanged after a crash: then a full disk is no reason not to serve.
  std::ifstream present(path);
  if (std::string(std::istreambuf_iterator<char>(present), {}) == text) return {};
  return io::write_durably(path, text);
}

io::SubprocessSpec git_command(const ServiceCall& call, Service service, bool any_want) {
  const GitEnvironment& environment = call.environment;
  io::SubprocessSpec spec;
  spec.argv = {environment.git_path};
  if (service == Service::upload_pack) {
    // strict: exactly this folder, without trying suffixes.
    spec.argv.insert(spec.argv.end(), {"upload-pack", "--stateless-rpc", "--strict"});
  } else {
    spec.argv.insert(spec.argv.end(), {"receive-pack", "--stateless-rpc"});
    spec.may_finish = true;
    spec.rights = io::ChildRights::read_write;
    spec.write_paths = writable_folders(*call.repository);
  }
  spec.argv.push_back(call.repository->git_dir);
  spec.data_bytes_max = kChildDataBytesMax;

  const auto set = [&spec](std::string_view name, std::string_view value) {
    std::string entry(name);
    entry += '=';
    entry += value;
    spec.env.push_back(std::move(entry));
  };
  set("PATH", "/usr/local/bin:/usr/bin:/bin:" + parent_of(environment.git_path));
  set("HOME", parent_of(environment.git_config_path));
  set("LC_ALL", "C");
  set("GIT_CONFIG_NOSYSTEM", "1");
  set("GIT_CONFIG_GLOBAL", environment.git_config_path);
  set("GIT_ATTR_NOSYSTEM", "1");
  set("GIT_TERMINAL_PROMPT", "0");
  if (service == Service::upload_pack) {
    // A repository that lacks objects never has them fetched because a client asked.
    set("GIT_NO_LAZY_FETCH", "1");
    set("GIT_ALLOW_PROTOCOL", "none");
  }
  std::size_t forced = 0;
  const auto force = [&](std::string_view key, std::string_view value) {
    set("GIT_CONFIG_KEY_" + std::to_string(forced), key);
    set("GIT_CONFIG_VALUE_" + std::to_string(forced), value);
    ++forced;
  };
  for (const auto& [key, value] : kForced) force(key, value);
  force("uploadpack.allowAnySHA1InWant", any_want ? "true" : "false");
  set("GIT_CONFIG_COUNT", std::to_string(forced));
  // Never the header itself: git must read the request in the version in which we checked it.
  if (call.protocol_version > 0) {
    set("GIT_PROTOCOL", "version=" + std::to_string(call.protocol_version));
  }
  if (is_trace_parent(call.trace_parent)) set("GIT_TRACE2_PARENT_SID", call.trace_parent);
  set("WEIR_REQUEST_ID", identity_part(call.request_id));
  set("WEIR_REPOSITORY", identity_part(call.repository->name));
  if (!call.remote_user.empty()) set("REMOTE_USER", identity_part(call.remote_user));
  set("REMOTE_ADDR", identity_part(call.remote_address));
  // Who stands in the reflog.
  const std::string user = call.remote_user.empty() ? "anonymous" : identity_part(call.remote_user);
  set("GIT_COMMITTER_NAME", user);
  set("GIT_COMMITTER_EMAIL", user + "@http." + identity_part(call.remote_address));
  return spec;
}

}  // namespace weir::git
