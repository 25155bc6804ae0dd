#pragma once
// A repository with a history worth indexing: branches, merges of two and of many, tags, tags of
// tags; and what git says about it.

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "git/object_id.h"
#include "tests/git/big_endian_bytes.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {

class HistoryRepository : public ScratchRepository {
 public:
  explicit HistoryRepository(int commits, ObjectFormat object_format = ObjectFormat::sha1)
      : ScratchRepository("--object-format=" + std::string(format_name(object_format))),
        format_(object_format) {
    grow(commits);
  }

  ObjectFormat format() const { return format_; }
  // That many commits more on main, and half as many beside it.
  void grow(int commits) {
    in_stream_.clear();
    std::string stream;
    for (int i = 0; i < commits; ++i) append_round(stream);
    git("fast-import --quiet --force --date-format=raw", stream);
  }
  // The one file of the folder that ends so, as git wrote it.
  BigEndianBytes file(const std::string& folder_name, const std::string& end) const {
    std::string found;
    for (const auto& entry : std::filesystem::directory_iterator(path() + "/" + folder_name)) {
      const std::string name = entry.path().filename().string();
      if (!name.ends_with(end)) continue;
      EXPECT_EQ(found, "") << "a second " << end;
      found = name;
    }
    EXPECT_NE(found, "") << "no " << end;
    return BigEndianBytes(read(folder_name + "/" + found));
  }
  // The names of a pack's objects and their offsets, sorted by name.
  std::vector<std::pair<std::string, std::uint64_t>> pack_objects(const std::string& index) const {
    std::vector<std::pair<std::string, std::uint64_t>> objects;
    std::istringstream lines(run(
        "cat " + index + " | git show-index --object-format=" + std::string(format_name(format_))));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::uint64_t offset = 0;
      std::string name;
      words >> offset >> name;
      objects.emplace_back(name, offset);
    }
    return objects;
  }
  // For each of these commits the objects it reaches, as a walk of git finds them.
  std::map<std::string, std::set<std::string>> reachable_from(
      const std::vector<std::string>& commits) const {
    std::string list;
    for (const std::string& commit : commits) list += commit + "\n";
    std::istringstream lines(run("while read c; do echo \"= $c\"; git -C " + path() +
                                     " rev-list --objects --no-object-names $c; done",
                                 list));
    std::map<std::string, std::set<std::string>> sets;
    std::set<std::string>* set = nullptr;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("= ")) {
        set = &sets[line.substr(2)];
      } else {
        set->insert(line);
      }
    }
    return sets;
  }
  std::map<std::string, std::string> types() const {
    std::map<std::string, std::string> types;
    std::istringstream lines(
        git("cat-file --batch-all-objects --batch-check='%(objectname) %(objecttype)'"));
    for (std::string name, type; lines >> name >> type;) types[name] = type;
    return types;
  }

 private:
  // Every round ends with a commit on main; some merge one side branch, some all four.
  void append_round(std::string& out) {
    const int round = round_++;
    if (round % 2 == 1) append_commit(out, side(round / 2 % 4), {});
    std::vector<std::string> merged;
    if (round % 5 == 4) merged = {side(0)};
    if (round % 10 == 9) merged = {side(0), side(1), side(2), side(3)};
    append_commit(out, "refs/heads/main", merged);
    if (round % 7 != 6) return;
    out += "tag v" + std::to_string(round) + "\nfrom refs/heads/main\ntagger a <a@b> " + when() +
           "data 1\nt\n";
  }
  static std::string side(int number) { return "refs/heads/side" + std::to_string(number); }
  void append_commit(std::string& out, const std::string& ref,
                     const std::vector<std::string>& merged) {
    const std::string text = "change " + std::to_string(++change_) + "\n";
    out += "commit " + ref + "\ncommitter a <a@b> " + when() + "data " +
           std::to_string(text.size()) + "\n" + text;
    // fast-import knows the branches of this stream, and has to be told of those before it.
    if (in_stream_.insert(ref).second && known_.contains(ref)) out += "from " + ref + "^0\n";
    known_.insert(ref);
    for (const std::string& other : merged) out += "merge " + other + "\n";
    const std::string file =
        "d" + std::to_string(change_ % 5) + "/e/f" + std::to_string(change_ % 13);
    out += "M 100644 inline " + file + "\ndata " + std::to_string(text.size()) + "\n" + text;
  }
  std::string when() { return std::to_string(1700000000 + 60 * change_) + " +0000\n"; }

  ObjectFormat format_;
  int round_ = 0;
  int change_ = 0;
  std::set<std::string> known_;
  std::set<std::string> in_stream_;
};

}  // namespace weir::git
