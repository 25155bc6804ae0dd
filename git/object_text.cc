#include "git/object_text.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace weir::git {
namespace {

// What S_IFMT means to git in a tree: files and links are blobs, all that it does not know is a
// submodule (canon_mode() of git's object.h).
constexpr std::uint32_t kModeTypeMask = 0170000;
constexpr std::uint32_t kModeFile = 0100000;
constexpr std::uint32_t kModeLink = 0120000;
constexpr std::uint32_t kModeTree = 0040000;

constexpr std::array kTypes = {ObjectType::commit, ObjectType::tree, ObjectType::blob,
                               ObjectType::tag};

// Takes lines off the front of an object's text.
class Lines {
 public:
  explicit Lines(std::span<const std::uint8_t> bytes)
      : rest_(reinterpret_cast<const char*>(bytes.data()), bytes.size()) {}

  bool begins(std::string_view key) const { return rest_.starts_with(key); }
  // The next line without its newline; nullopt where there is no whole line.
  std::optional<std::string_view> line() {
    const std::size_t end = rest_.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return line;
  }
  // The value of a next line "<key><value>".
  std::optional<std::string_view> value(std::string_view key) {
    if (!begins(key)) return std::nullopt;
    const auto whole = line();
    if (!whole) return std::nullopt;
    return whole->substr(key.size());
  }
  std::optional<ObjectId> id(std::string_view key, ObjectFormat format) {
    const auto hex = value(key);
    if (!hex || hex->size() != 2 * hash_bytes(format)) return std::nullopt;
    return ObjectId::from_hex(*hex);
  }

 private:
  std::string_view rest_;
};

// As git 2.41 and later: what follows the last '>' of the line. Earlier ones took the first.
std::uint64_t committer_date_s(Lines& lines) {
  if (!lines.value("author")) return 0;
  const auto committer = lines.value("committer");
  if (!committer) return 0;
  const std::size_t address_end = committer->rfind('>');
  if (address_end == std::string_view::npos) return 0;
  std::string_view text = committer->substr(address_end + 1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  std::uint64_t date_s = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') break;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
    date_s = date_s > (kMax - digit) / 10 ? kMax : date_s * 10 + digit;
  }
  return date_s;
}

}  // namespace

io::Result<void> parse_commit(std::span<const std::uint8_t> bytes, ObjectFormat format,
                              CommitText& commit) {
  Lines lines(bytes);
  const auto tree = lines.id("tree ", format);
  if (!tree) return io::fail(io::Errc::corrupt, "tree of a commit");
  commit.tree = *tree;
  commit.parents.clear();
  while (lines.begins("parent ")) {
    const auto parent = lines.id("parent ", format);
    if (!parent) return io::fail(io::Errc::corrupt, "parent of a commit");
    commit.parents.push_back(*parent);
  }
  commit.date_s = committer_date_s(lines);
  return {};
}

io::Result<TagText> parse_tag(std::span<const std::uint8_t> bytes, ObjectFormat format) {
  Lines lines(bytes);
  TagText tag;
  const auto target = lines.id("object ", format);
  if (!target) return io::fail(io::Errc::corrupt, "object of a tag");
  tag.target = *target;
  const auto type = lines.value("type ");
  const auto* const known = std::ranges::find(kTypes, type.value_or(""), type_name);
  if (known == kTypes.end()) return io::fail(io::Errc::corrupt, "type of a tag");
  tag.type = *known;
  if (!lines.value("tag ")) return io::fail(io::Errc::corrupt, "name of a tag");
  return tag;
}

TreeReader::TreeReader(std::span<const std::uint8_t> bytes, ObjectFormat format)
    : rest_(bytes), hash_bytes_(hash_bytes(format)) {}

bool TreeReader::next(TreeEntry& entry) {
  if (malformed_ || rest_.empty()) return false;
  malformed_ = true;  // until this entry is seen to be whole
  std::uint32_t mode = 0;
  std::size_t at = 0;
  for (; at < rest_.size() && rest_[at] != ' '; ++at) {
    if (rest_[at] < '0' || rest_[at] > '7') return false;
    mode = (mode << 3) + (rest_[at] - '0');
  }
  if (at == 0 || at == rest_.size()) return false;
  const auto* const name = reinterpret_cast<const char*>(rest_.data() + at + 1);
  const std::size_t name_room = rest_.size() - at - 1;
  const void* const name_end = name_room == 0 ? nullptr : std::memchr(name, 0, name_room);
  if (name_end == nullptr) return false;
  const auto name_bytes = static_cast<std::size_t>(static_cast<const char*>(name_end) - name);
  if (name_bytes == 0 || name_room - name_bytes - 1 < hash_bytes_) return false;

  const std::uint32_t type = mode & kModeTypeMask;
  entry.kind = type == kModeTree                        ? TreeEntryKind::tree
               : type == kModeFile || type == kModeLink ? TreeEntryKind::blob
                                                        : TreeEntryKind::submodule;
  entry.name = {name, name_bytes};
  entry.hash = rest_.data() + at + 1 + name_bytes + 1;
  rest_ = rest_.subspan(at + 1 + name_bytes + 1 + hash_bytes_);
  malformed_ = false;
  return true;
}

}  // namespace weir::git
