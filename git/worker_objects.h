#pragma once
// ObjectReader: what kind of object an id names and, for tags, what they point at. Over libgit2's
// object database for sha1 repositories that it can open, else over `git cat-file`. Workers only;
// blocks. Databases are kept open between requests (kDatabasesMax, least recently used first out).

#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "git/object_id.h"
#include "git/worker_git.h"
#include "io/error.h"

struct git_odb;

namespace weir::git {

inline constexpr std::size_t kDatabasesMax = 64;  // open pack indexes of so many repositories

enum class ObjectKind : std::uint8_t { missing, commit, tree, blob, tag };

struct ObjectFacts {
  ObjectKind kind = ObjectKind::missing;
  ObjectId target;  // of a tag
  ObjectKind target_kind = ObjectKind::missing;
};

// The head of a tag object: "object <hex>\ntype <kind>\n". False if it is malformed.
bool parse_tag(std::string_view content, ObjectFormat format, ObjectFacts& facts);

class ObjectReader {
 public:
  ObjectReader();
  ~ObjectReader();
  ObjectReader(const ObjectReader&) = delete;
  ObjectReader& operator=(const ObjectReader&) = delete;

  // One result an id, in order; ends with git's deadline.
  io::Result<std::vector<ObjectFacts>> look(const std::string& objects_dir, ObjectFormat format,
                                            const std::vector<ObjectId>& ids, const GitRunner& git);

 private:
  struct Database {
    std::string path;
    git_odb* odb;
  };
  git_odb* open(const std::string& path, bool again);
  std::list<Database> databases_;  // most recently used first
};

}  // namespace weir::git
