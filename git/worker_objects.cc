#include "git/worker_objects.h"

#include <git2.h>

#include <charconv>
#include <cstring>

namespace weir::git {
namespace {

constexpr std::size_t kTagBytesMax = 16UL * 1024 * 1024;  // larger ones are not followed
constexpr std::size_t kBatchBytesMax = 64UL * 1024 * 1024;

ObjectKind kind_of(std::string_view name) {
  if (name == "commit") return ObjectKind::commit;
  if (name == "tree") return ObjectKind::tree;
  if (name == "blob") return ObjectKind::blob;
  if (name == "tag") return ObjectKind::tag;
  return ObjectKind::missing;
}

ObjectFacts look_one(git_odb* odb, const ObjectId& id) {
  ObjectFacts facts;
  git_oid oid;
  std::memcpy(oid.id, id.hash.data(), sizeof oid.id);
  std::size_t bytes = 0;
  git_object_t type = GIT_OBJECT_INVALID;
  // Reading what is not there would read the pack folder again, for each of a client's inventions.
  if (git_odb_exists_ext(odb, &oid, GIT_ODB_LOOKUP_NO_REFRESH) == 0) return facts;
  if (git_odb_read_header(&bytes, &type, odb, &oid) != 0) return facts;
  facts.kind = kind_of(git_object_type2string(type));
  if (facts.kind != ObjectKind::tag || bytes > kTagBytesMax) return facts;
  git_odb_object* object = nullptr;
  if (git_odb_read(&object, odb, &oid) != 0) return facts;
  parse_tag({static_cast<const char*>(git_odb_object_data(object)), git_odb_object_size(object)},
            ObjectFormat::sha1, facts);
  git_odb_object_free(object);
  return facts;
}

std::string id_lines(const std::vector<ObjectId>& ids) {
  std::string text;
  for (const ObjectId& id : ids) text += id.to_hex() + "\n";
  return text;
}

// Reads the output of `git cat-file --batch`: "<id> <kind> <bytes>" LF content LF, or
// "<id> missing" LF.
bool parse_batch(std::string_view output, ObjectFormat format,
                 const std::vector<std::size_t>& which, std::vector<ObjectFacts>& facts) {
  for (const std::size_t index : which) {
    const std::size_t end = output.find('\n');
    if (end == std::string_view::npos) return false;
    const std::string_view line = output.substr(0, end);
    output.remove_prefix(end + 1);
    const std::size_t space = line.rfind(' ');
    if (space == std::string_view::npos || line.ends_with(" missing")) continue;
    std::size_t bytes = 0;
    const auto [stop, error] =
        std::from_chars(line.data() + space + 1, line.data() + line.size(), bytes);
    if (error != std::errc{} || bytes >= output.size()) return false;
    parse_tag(output.substr(0, bytes), format, facts[index]);
    output.remove_prefix(bytes + 1);
  }
  return true;
}

io::Result<std::vector<ObjectFacts>> look_with_git(ObjectFormat format,
                                                   const std::vector<ObjectId>& ids,
                                                   const GitRunner& git) {
  std::vector<ObjectFacts> facts;
  std::vector<ObjectId> tags;
  std::vector<std::size_t> which;
  const auto checked = git.run_lines(
      {"cat-file", "--batch-check=%(objecttype)"}, id_lines(ids), [&](std::string_view line) {
        if (facts.size() == ids.size()) return false;
        const ObjectKind kind = kind_of(line);  // "<id> missing" is no kind
        if (kind == ObjectKind::tag) {
          which.push_back(facts.size());
          tags.push_back(ids[facts.size()]);
        }
        facts.push_back({kind, {}, ObjectKind::missing});
        return true;
      });
  if (!checked) return std::unexpected(checked.error());
  if (facts.size() != ids.size()) return io::fail(io::Errc::corrupt, "git cat-file");
  if (tags.empty()) return facts;
  const auto contents = git.output({"cat-file", "--batch"}, id_lines(tags), kBatchBytesMax);
  if (!contents) return std::unexpected(contents.error());
  if (!parse_batch(*contents, format, which, facts)) {
    return io::fail(io::Errc::corrupt, "git cat-file");
  }
  return facts;
}

}  // namespace

bool parse_tag(std::string_view content, ObjectFormat format, ObjectFacts& facts) {
  constexpr std::string_view kObject = "object ";
  constexpr std::string_view kType = "type ";
  const std::size_t hex = 2 * hash_bytes(format);
  if (!content.starts_with(kObject)) return false;
  const auto id = ObjectId::from_hex(content.substr(kObject.size(), hex));
  if (!id || id->bytes != hash_bytes(format)) return false;
  content.remove_prefix(kObject.size() + hex);
  if (!content.starts_with('\n')) return false;
  content.remove_prefix(1);
  if (!content.starts_with(kType)) return false;
  content.remove_prefix(kType.size());
  const std::size_t end = content.find('\n');
  if (end == std::string_view::npos) return false;
  const ObjectKind kind = kind_of(content.substr(0, end));
  if (kind == ObjectKind::missing) return false;
  facts.target = *id;
  facts.target_kind = kind;
  return true;
}

ObjectReader::ObjectReader() {
  git_libgit2_init();
  // Nothing outside of the repository is read, whoever owns it: the server has decided that.
  for (const int level : {GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_XDG,
                          GIT_CONFIG_LEVEL_PROGRAMDATA}) {
    git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, "");
  }
  git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
}

ObjectReader::~ObjectReader() {
  for (const Database& database : databases_) git_odb_free(database.odb);
  git_libgit2_shutdown();
}

git_odb* ObjectReader::open(const std::string& path, bool again) {
  for (auto at = databases_.begin(); at != databases_.end(); ++at) {
    if (at->path != path) continue;
    if (again) {
      git_odb_free(at->odb);
      databases_.erase(at);
      break;
    }
    databases_.splice(databases_.begin(), databases_, at);
    return at->odb;
  }
  git_odb* odb = nullptr;
  if (git_odb_open(&odb, path.c_str()) != 0) return nullptr;
  databases_.push_front({path, odb});
  if (databases_.size() > kDatabasesMax) {
    git_odb_free(databases_.back().odb);
    databases_.pop_back();
  }
  return odb;
}

io::Result<std::vector<ObjectFacts>> ObjectReader::look(const std::string& objects_dir,
                                                        ObjectFormat format,
                                                        const std::vector<ObjectId>& ids,
                                                        const GitRunner& git) {
  if (ids.empty()) return std::vector<ObjectFacts>{};
  git_odb* odb = format == ObjectFormat::sha1 ? open(objects_dir, false) : nullptr;
  if (odb == nullptr) return look_with_git(format, ids, git);
  std::vector<ObjectFacts> facts;
  std::size_t missing = 0;
  for (const ObjectId& id : ids) {
    facts.push_back(look_one(odb, id));
    if (facts.back().kind == ObjectKind::missing) ++missing;
    if (facts.size() % 1024 == 0 && std::chrono::steady_clock::now() >= git.deadline()) {
      return io::fail(io::Errc::deadline_exceeded, "look up objects");
    }
  }
  if (missing == 0) return facts;
  // A pack or an alternate may have come since the database was opened.
  odb = open(objects_dir, true);
  if (odb == nullptr) return look_with_git(format, ids, git);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (facts[i].kind == ObjectKind::missing) facts[i] = look_one(odb, ids[i]);
  }
  return facts;
}

}  // namespace weir::git
