#pragma once
// Commits, trees and tags as their bytes say. Views into those bytes, which outlive them. Lenient
// where git is (dates, modes), strict where a walk depends on it. Sans-IO; any thread.
// Format: gitformat in Documentation/user-manual "object storage"; fsck.c for what occurs.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "git/object_id.h"
#include "git/object_type.h"
#include "io/error.h"

namespace weir::git {

struct CommitText {
  ObjectId tree;
  std::vector<ObjectId> parents;
  std::uint64_t date_s = 0;  // committer's; 0 if it cannot be read, as in git
};
io::Result<void> parse_commit(std::span<const std::uint8_t> bytes, ObjectFormat format,
                              CommitText& commit);

struct TagText {
  ObjectId target;
  ObjectType type = ObjectType::commit;
};
io::Result<TagText> parse_tag(std::span<const std::uint8_t> bytes, ObjectFormat format);

enum class TreeEntryKind : std::uint8_t { blob, tree, submodule };  // links count as blobs
struct TreeEntry {
  TreeEntryKind kind = TreeEntryKind::blob;
  std::string_view name;
  const std::uint8_t* hash = nullptr;  // hash_bytes(format) bytes
};
// Walks a tree's entries in place.
class TreeReader {
 public:
  TreeReader(std::span<const std::uint8_t> bytes, ObjectFormat format);
  // False at the end, or where the tree is malformed: then malformed().
  bool next(TreeEntry& entry);
  bool malformed() const { return malformed_; }

 private:
  std::span<const std::uint8_t> rest_;
  std::size_t hash_bytes_;
  bool malformed_ = false;
};

}  // namespace weir::git
