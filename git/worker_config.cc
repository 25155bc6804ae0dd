#include "git/worker_config.h"

#include <git2.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace weir::git {
namespace {

constexpr std::size_t kListingBytesMax = 16UL * 1024 * 1024;

struct Entry {
  std::string key;  // section and name in lower case
  std::string value;
  bool has_value = true;  // "[a] b" alone means true
};

struct ConfigFree {
  void operator()(git_config* config) const { git_config_free(config); }
};

std::string folder_of(const std::string& file) {
  return file.substr(0, file.rfind('/'));
}

class ConfigReader {
 public:
  explicit ConfigReader(std::string& problem) : problem_(problem) {}

  // All entries of `file` and of what it includes, in order; appends to `files` what was read.
  io::Result<std::vector<Entry>> read(const std::string& file) {
    std::vector<Entry> entries;
    std::vector<std::string> includes;
    files.push_back(file);
    git_config* raw = nullptr;
    if (git_config_open_ondisk(&raw, file.c_str()) != 0) return malformed(file);
    const std::unique_ptr<git_config, ConfigFree> config(raw);
    git_config_iterator* iterator = nullptr;
    if (git_config_iterator_new(&iterator, config.get()) != 0) return malformed(file);
    git_config_entry* entry = nullptr;
    while (git_config_next(&entry, iterator) == 0) {
      const std::string key = entry->name;
      const bool has_value = entry->value != nullptr;
      entries.push_back({key, has_value ? entry->value : "", has_value});
      if (key.starts_with("includeif.")) conditional = true;
      if (key == "include.path" && has_value && entry->include_depth == 0) {
        includes.push_back(entries.back().value);
      }
    }
    git_config_iterator_free(iterator);
    // libgit2 has followed the includes; only their names are missing.
    for (std::string& include : includes) {
      if (files.size() >= kConfigFilesMax) return io::fail(io::Errc::limit, "configuration files");
      if (!include.starts_with('/')) include = folder_of(file) + "/" + include;
      struct stat status;
      if (::stat(include.c_str(), &status) != 0) {
        files.push_back(include);  // its appearance matters
        continue;
      }
      auto below = read(include);
      if (!below) return below;
    }
    return entries;
  }

  std::vector<std::string> files;
  bool conditional = false;

 private:
  std::unexpected<io::Error> malformed(const std::string& file) {
    const git_error* const error = git_error_last();
    problem_ = "the configuration of this repository cannot be read: " +
               (error != nullptr ? std::string(error->message) : file);
    return io::fail(io::Errc::corrupt, "repository configuration");
  }
  std::string& problem_;
};

// "<origin> NUL <key> LF <value> NUL" ..., origin "file:<path>"; relative to git's working folder,
// which is the root here, so absolute or below GIT_DIR.
io::Result<std::vector<Entry>> list_with_git(const std::string& git_dir, const GitRunner& git,
                                             std::vector<std::string>& files) {
  const auto listing =
      git.output({"config", "--list", "--show-origin", "-z", "--includes"}, "", kListingBytesMax);
  if (!listing) return std::unexpected(listing.error());
  std::vector<Entry> entries;
  std::string_view rest = *listing;
  const auto next = [&] {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view field = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return field;
  };
  while (!rest.empty()) {
    std::string_view origin = next();
    const std::string_view pair = next();
    if (origin.starts_with("file:")) {
      origin.remove_prefix(5);
      std::string file(origin);
      if (!file.starts_with('/')) file = git_dir + "/" + file;
      if (std::ranges::find(files, file) == files.end() && files.size() < kConfigFilesMax) {
        files.push_back(std::move(file));
      }
    }
    const std::size_t lf = pair.find('\n');
    const bool has_value = lf != std::string_view::npos;
    entries.push_back({std::string(pair.substr(0, lf)),
                       std::string(has_value ? pair.substr(lf + 1) : ""), has_value});
  }
  return entries;
}

// git's booleans; `otherwise` for what is none.
bool as_bool(const Entry& entry, bool otherwise) {
  int value = 0;
  if (!entry.has_value) return true;
  return git_config_parse_bool(&value, entry.value.c_str()) == 0 ? value != 0 : otherwise;
}

bool exists(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && status.st_size > 0;
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

RepositoryConfig interpret(const std::vector<Entry>& entries) {
  RepositoryConfig config;
  std::string format;
  std::string storage;
  bool version_1 = false;
  const std::pair<std::string_view, bool*> booleans[] = {
      {"core.bare", &config.bare},
      {"http.uploadpack", &config.http_upload_pack},
      {"http.receivepack", &config.http_receive_pack},
      {"uploadpack.allowfilter", &config.allow_filter},
      {"uploadpack.allowanysha1inwant", &config.allow_any_sha1_in_want},
      {"receive.advertiseatomic", &config.advertise_atomic},
      {"receive.advertisepushoptions", &config.advertise_push_options},
      {"repack.usedeltabaseoffset", &config.prefer_ofs_delta},
  };
  for (const Entry& entry : entries) {
    const std::string key = lower(entry.key);
    for (const auto& [name, target] : booleans) {
      if (key == name) *target = as_bool(entry, *target);
    }
    if (key == "core.repositoryformatversion") version_1 = entry.value == "1";
    if (key == "extensions.objectformat") format = lower(entry.value);
    if (key == "extensions.refstorage") storage = lower(entry.value);
    const bool both = key == "transfer.hiderefs";
    if (entry.value.empty()) continue;
    if (both || key == "uploadpack.hiderefs") config.hide_refs_fetch.push_back(entry.value);
    if (both || key == "receive.hiderefs") config.hide_refs_push.push_back(entry.value);
  }
  // git heeds these extensions in version 1 only.
  config.sha256 = version_1 && format == "sha256";
  config.reftable = version_1 && storage.starts_with("reftable");
  return config;
}

}  // namespace

io::Result<RepositoryConfig> read_repository_config(const std::string& git_dir,
                                                    const std::string& common_dir,
                                                    const GitRunner& git, std::string& problem) {
  ConfigReader reader(problem);
  const std::string file = common_dir + "/config";
  struct stat status;
  if (::stat(file.c_str(), &status) != 0) {
    // git serves a repository without a configuration with its defaults.
    RepositoryConfig config;
    config.files = {file};
    return config;
  }
  auto entries = reader.read(file);
  if (!entries) return std::unexpected(entries.error());
  const bool worktree = std::ranges::any_of(*entries, [](const Entry& entry) {
    return lower(entry.key) == "extensions.worktreeconfig" && as_bool(entry, false);
  });
  if (worktree) {
    const std::string own = git_dir + "/config.worktree";
    if (::stat(own.c_str(), &status) == 0) {
      auto more = reader.read(own);
      if (!more) return std::unexpected(more.error());
      entries->insert(entries->end(), more->begin(), more->end());
    } else {
      reader.files.push_back(own);
    }
  }
  if (reader.conditional) {
    entries = list_with_git(git_dir, git, reader.files);
    if (!entries) return std::unexpected(entries.error());
  }
  RepositoryConfig config = interpret(*entries);
  const std::string alternates = common_dir + "/objects/info/alternates";
  config.has_alternates = exists(alternates);
  config.files = std::move(reader.files);
  config.files.push_back(alternates);
  return config;
}

}  // namespace weir::git
