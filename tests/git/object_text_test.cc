#include "git/object_text.h"

#include <gtest/gtest.h>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

constexpr ObjectFormat kFormats[] = {ObjectFormat::sha1, ObjectFormat::sha256};

ScratchRepository scratch_of(ObjectFormat format) {
  return ScratchRepository("--object-format=" + std::string(format_name(format)));
}
// The object's bytes as git has them: ScratchRepository::git() would cut a last newline.
std::string raw(const ScratchRepository& scratch, const std::string& type, const std::string& id) {
  return scratch.run("git -C " + scratch.path() + " cat-file " + type + " " + id);
}
std::string store(const ScratchRepository& scratch, const std::string& type,
                  const std::string& bytes) {
  return scratch.git("hash-object -t " + type + " --literally -w --stdin", bytes);
}

// "<tree> <parent>... <date>", which git is asked for in the same words.
std::string in_words(const CommitText& commit) {
  std::string words = commit.tree.to_hex();
  for (const ObjectId& parent : commit.parents) words += ' ' + parent.to_hex();
  return words + ' ' + std::to_string(commit.date_s);
}

CommitText read_commit(const std::string& text, ObjectFormat format) {
  CommitText commit;
  EXPECT_TRUE(parse_commit(bytes_of(text), format, commit)) << text;
  return commit;
}

TEST(CommitTextOf, a_commit_is_what_git_says_it_is) {
  for (const ObjectFormat format : kFormats) {
    const ScratchRepository scratch = scratch_of(format);
    const std::string root = scratch.commit("root");
    const std::string other = scratch.commit("other");
    std::string octopus = "commit-tree -m octopus -p " + root + " -p " + other;
    for (int i = 0; i < 9; ++i) octopus += " -p " + scratch.commit("p" + std::to_string(i), root);
    const std::string merge = scratch.git(octopus + " " + scratch.empty_tree());
    const std::string encoded =
        scratch.git("-c i18n.commitEncoding=latin1 commit-tree -m x -p " + root + " " + root + ":");
    for (const std::string& id : {root, other, merge, encoded}) {
      const std::string git = scratch.git("log -1 --format='%T %P %ct' " + id);
      std::string ours = in_words(read_commit(raw(scratch, "commit", id), format));
      if (id == root || id == other) ours.replace(ours.find(' '), 1, "  ");  // an empty %P
      EXPECT_EQ(ours, git);
    }
  }
}

TEST(CommitTextOf, a_date_is_read_as_git_reads_it) {
  const ScratchRepository scratch;
  const std::string head = "tree " + scratch.empty_tree() + "\n";
  const struct {
    std::string rest;
    std::uint64_t date_s;
  } dates[] = {
      {"author a <b> 1 +0\ncommitter a <b> 1700000000 +0000\n\n", 1'700'000'000},
      {"author a <b> 1 +0\ncommitter a <b>   7 +0000\n\nx", 7},
      {"author a <b> 1 +0\ncommitter a <b>7\n\nx", 7},
      {"author a <b> 1 +0\ncommitter <> 12abc\n\nx", 12},
      {"author a <b> 1 +0\ncommitter a <b> 0007 +0\n\nx", 7},
      {"author\ncommitter> 7\n\nx", 7},
      {"author a <b> 1 +0\ncommitter a <b> x\n\nx", 0},
      {"author a <b> 1 +0\ncommitter a <b>\n\nx", 0},
      {"author a <b> 1 +0\ncommitter a b\n\nx", 0},
      {"author a <b> 1 +0\nencoding x\ncommitter a <b> 7 +0\n\nx", 0},
      {"committer a <b> 7 +0\n\nx", 0},
      {"encoding x\nauthor a <b> 1 +0\ncommitter a <b> 7 +0\n\nx", 0},
      {"author a <b> 1 +0\ncommitter a <b> 99999999999999999999999 +0\n\nx", ~std::uint64_t{0}},
      {"\nmessage", 0},
  };
  for (const auto& item : dates) {
    const std::string text = head + item.rest;
    EXPECT_EQ(read_commit(text, ObjectFormat::sha1).date_s, item.date_s) << text;
    const std::string id = store(scratch, "commit", text);
    const std::string git = scratch.git("rev-list -1 --timestamp " + id);
    EXPECT_EQ(git, std::to_string(item.date_s) + " " + id) << text;
  }
}

TEST(CommitTextOf, an_address_may_hold_what_looks_like_its_end) {
  const std::string text = "tree " + std::string(40, 'a') + "\nauthor a <b> 1 +0\n" +
                           "committer a > <b>c> 1700000000 +0000\n\n";
  EXPECT_EQ(read_commit(text, ObjectFormat::sha1).date_s, 1'700'000'000U);
}

TEST(CommitTextOf, parents_after_other_lines_are_not_parents) {
  const std::string id(40, 'a');
  EXPECT_TRUE(
      read_commit("tree " + id + "\n\nparent " + id + "\n", ObjectFormat::sha1).parents.empty());
  EXPECT_EQ(read_commit("tree " + std::string(40, 'A') + "\nparent " + id + "\nauthor x\nparent " +
                            id + "\n",
                        ObjectFormat::sha1)
                .parents.size(),
            1U);
}

TEST(CommitTextOf, malformed_commits_are_refused) {
  const std::string id(40, 'a');
  const std::string long_id(64, 'a');
  const std::string tree = "tree " + id + "\n";
  const std::string refused[] = {
      "",
      "\n",
      "tree",
      "tree ",
      "tree " + id,
      "tree " + id + " \n",
      "tree  " + id + "\n",
      "tree\t" + id + "\n",
      "Tree " + id + "\n",
      " tree " + id + "\n",
      "tree " + id.substr(1) + "\n",
      "tree " + id.substr(1) + "g\n",
      "tree " + id.substr(1) + std::string(1, '\0') + "\n",
      "tree " + id + "a\n",
      "tree " + long_id + "\n",
      "parent " + id + "\n" + tree,
      tree + "parent ",
      tree + "parent \n",
      tree + "parent " + id,
      tree + "parent " + id.substr(1) + "\n",
      tree + "parent " + id + " \n",
      tree + "parent " + long_id + "\n",
      tree + "parent " + id.substr(1) + "g\n",
      tree + "parent " + id + "\nparent x\n",
  };
  CommitText commit;
  for (const std::string& text : refused) {
    const auto parsed = parse_commit(bytes_of(text), ObjectFormat::sha1, commit);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, io::Errc::corrupt);
  }
  EXPECT_FALSE(parse_commit(bytes_of(tree), ObjectFormat::sha256, commit));
}

TEST(TagTextOf, a_tag_is_what_git_says_it_is) {
  for (const ObjectFormat format : kFormats) {
    const ScratchRepository scratch = scratch_of(format);
    const std::string commit = scratch.commit("root");
    scratch.git("tag -a -m x commit " + commit);
    scratch.git("tag -a -m x tree " + scratch.empty_tree());
    scratch.git("tag -a -m x blob " + store(scratch, "blob", "content"));
    scratch.git("tag -a -m x tag commit");
    for (const char* const name : {"commit", "tree", "blob", "tag"}) {
      const auto tag = parse_tag(bytes_of(raw(scratch, "tag", name)), format);
      ASSERT_TRUE(tag) << name;
      EXPECT_EQ(
          tag->target.to_hex() + " " + std::string(type_name(tag->type)),
          scratch.git("for-each-ref --format='%(object) %(type)' refs/tags/" + std::string(name)));
      EXPECT_EQ(type_name(tag->type), name);
    }
  }
}

TEST(TagTextOf, a_tag_needs_no_tagger) {
  const std::string text = "object " + std::string(40, 'a') + "\ntype commit\ntag \n";
  EXPECT_TRUE(parse_tag(bytes_of(text), ObjectFormat::sha1));
}

TEST(TagTextOf, malformed_tags_are_refused) {
  const std::string id(40, 'a');
  const std::string object = "object " + id + "\n";
  const std::string refused[] = {
      "",
      "object",
      object,
      "object " + id,
      "object " + id.substr(1) + "\ntype commit\ntag v1\n",
      "object " + id + "a\ntype commit\ntag v1\n",
      "object " + std::string(64, 'a') + "\ntype commit\ntag v1\n",
      "object " + id.substr(1) + "g\ntype commit\ntag v1\n",
      "\n" + object + "type commit\ntag v1\n",
      object + "\ntype commit\ntag v1\n",
      object + "tag v1\ntype commit\n",
      object + "type commit",
      object + "type commit\n",
      object + "type \ntag v1\n",
      object + "type\ntag v1\n",
      object + "type commits\ntag v1\n",
      object + "type Commit\ntag v1\n",
      object + "type commit \ntag v1\n",
      object + "type ofs-delta\ntag v1\n",
      object + "type commit\ntag\n",
      object + "type commit\ntag v1",
      object + "type commit\ntagger v1\n",
  };
  for (const std::string& text : refused) {
    const auto tag = parse_tag(bytes_of(text), ObjectFormat::sha1);
    ASSERT_FALSE(tag) << text;
    EXPECT_EQ(tag.error().code, io::Errc::corrupt);
  }
}

// As `git ls-tree -z` prints it, without the modes.
std::string listed(const std::string& text, ObjectFormat format) {
  std::string list;
  TreeReader reader(bytes_of(text), format);
  TreeEntry entry;
  while (reader.next(entry)) {
    ObjectId id;
    id.bytes = static_cast<std::uint8_t>(hash_bytes(format));
    std::copy_n(entry.hash, id.bytes, id.hash.begin());
    constexpr const char* kKinds[] = {"blob", "tree", "commit"};
    list += kKinds[static_cast<int>(entry.kind)] + (" " + id.to_hex()) + "\t";
    list += entry.name;
    list += '\0';
  }
  EXPECT_FALSE(reader.malformed());
  return list;
}

TEST(TreeReaderOf, a_tree_is_what_git_lists) {
  for (const ObjectFormat format : kFormats) {
    const ScratchRepository scratch = scratch_of(format);
    const std::string blob = store(scratch, "blob", "content");
    const std::string rest = " " + std::string(2 * hash_bytes(format), '7');
    const std::string tree = scratch.git(
        "mktree -z --missing", "100644 blob " + blob + "\tplain" + '\0' + "100755 blob " + blob +
                                   "\trun it" + '\0' + "120000 blob " + blob + "\tlink" + '\0' +
                                   "160000 commit" + rest + "\tmodule" + '\0' + "040000 tree " +
                                   scratch.empty_tree() + "\tfolder" + '\0');
    // Modes that git wrote once, or never, but reads.
    const std::string hash(hash_bytes(format), '\x11');
    std::string odd;
    for (const char* const mode :
         {"100664", "0100644", "100600", "40000", "040000", "160000", "0", "644", "20000", "120777",
          "000000000000000000040000", "7777777777777777100644"}) {
      odd += std::string(mode) + " n" + mode + '\0' + hash;
    }
    for (const std::string& id : {tree, scratch.empty_tree(), store(scratch, "tree", odd)}) {
      EXPECT_EQ(listed(raw(scratch, "tree", id), format),
                scratch.run("git -C " + scratch.path() +
                            " ls-tree -z --format='%(objecttype) %(objectname)%x09%(path)' " + id));
    }
  }
}

TEST(TreeReaderOf, a_malformed_tree_ends_where_it_is_malformed) {
  const std::string hash(20, '\x11');
  const auto entry = [&](const std::string& mode_and_name) { return mode_and_name + '\0' + hash; };
  const std::string good = entry("100644 a");
  const std::string refused[] = {
      "1",
      "100644",
      "100644 ",
      "100644 a",
      std::string("100644 a") + '\0',
      entry("100644 a").substr(0, 28),
      entry("100644 "),
      entry("100644"),
      entry("100644\ta"),
      entry(" a"),
      entry("100648 a"),
      entry("-100644 a"),
      entry("0x1a4 a"),
      entry("10064\n a"),
      std::string(1, '\0'),
      std::string(40, '\0'),
      hash,
  };
  for (const std::string& bad : refused) {
    for (const std::string& before : {std::string(), good}) {
      const std::string text = before + bad;
      TreeReader reader(bytes_of(text), ObjectFormat::sha1);
      TreeEntry read;
      EXPECT_EQ(reader.next(read), !before.empty());
      EXPECT_EQ(reader.malformed(), before.empty());
      EXPECT_FALSE(reader.next(read)) << text;
      EXPECT_TRUE(reader.malformed()) << text;
      EXPECT_FALSE(reader.next(read));
    }
  }
  TreeReader wrong_format(bytes_of(good), ObjectFormat::sha256);
  TreeEntry read;
  EXPECT_FALSE(wrong_format.next(read));
  EXPECT_TRUE(wrong_format.malformed());
}

}  // namespace
}  // namespace weir::git
