#include "git/repository_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "git/alternates.h"
#include "git/loose_bundle.h"
#include "io/unique_fd.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

using Files = std::shared_ptr<const RepositoryFiles>;

io::Result<Files> open(const ScratchRepository& scratch, const Files& previous = nullptr) {
  const std::vector<std::string> roots = {scratch.folder()};
  return RepositoryFiles::open(*scratch.repository(), ObjectFormat::sha1, previous, roots);
}

// Opens what must open.
Files opened(const ScratchRepository& scratch, const Files& previous = nullptr) {
  auto files = open(scratch, previous);
  EXPECT_TRUE(files) << (files ? "" : io::to_string(files.error()));
  return files ? *files : nullptr;
}

std::string content(const RepositoryFiles& files, std::size_t file) {
  std::string bytes(files.sizes()[file], '\0');
  EXPECT_EQ(::pread(files.fd(file), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  return bytes;
}

// Those of one role, as "store name".
std::vector<std::string> names(const RepositoryFiles& files, FileRole role) {
  std::vector<std::string> found;
  for (const RepositoryFile& file : files.files()) {
    if (file.role == role) found.push_back(std::to_string(file.store) + " " + file.name);
  }
  return found;
}

std::size_t count(const RepositoryFiles& files, FileRole role) {
  return names(files, role).size();
}

std::size_t index_of(const RepositoryFiles& files, FileRole role) {
  const auto found = std::ranges::find(files.files(), role, &RepositoryFile::role);
  EXPECT_NE(found, files.files().end());
  return static_cast<std::size_t>(found - files.files().begin());
}

// A commit with a file, on `main`; loose.
std::string grow(const ScratchRepository& scratch, const std::string& text) {
  const std::string blob = scratch.git("hash-object -w --stdin", text);
  const std::string tree = scratch.git("mktree", "100644 blob " + blob + "\tfile\n");
  const std::string commit = scratch.git("commit-tree -m x " + tree);
  scratch.git("update-ref refs/heads/main " + commit);
  scratch.git("update-ref refs/heads/" + text + " " + commit);
  return blob;
}

std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = bytes.size(); i-- > 0;)
    sum = sum << 8 | static_cast<unsigned char>(bytes[i]);
  return sum;
}

// What a bundle holds, hex name by raw bytes.
std::map<std::string, std::string> bundled(const std::string& bundle) {
  std::map<std::string, std::string> objects;
  EXPECT_TRUE(bundle.starts_with("WEIRLSE1"));
  const std::uint64_t objects_count = little_endian(bundle.substr(8, 4));
  for (std::uint64_t i = 0; i < objects_count; ++i) {
    const std::string entry = bundle.substr(16 + i * 48, 48);
    ObjectId id;
    id.bytes = 20;
    std::copy_n(entry.begin(), 32, id.hash.begin());
    objects[id.to_hex()] =
        bundle.substr(little_endian(entry.substr(32, 8)), little_endian(entry.substr(40, 8)));
  }
  return objects;
}

TEST(RepositoryFiles, an_empty_repository_has_no_files) {
  const ScratchRepository scratch;
  EXPECT_TRUE(opened(scratch)->files().empty());
}

TEST(RepositoryFiles, loose_objects_are_one_sealed_file_of_their_raw_bytes) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.write("objects/ab/tmp_obj_x", "half a push");
  scratch.write("objects/ab/" + std::string(38, 'A'), "no name of git");
  const Files files = opened(scratch);
  ASSERT_EQ(files->files().size(), 1U);
  EXPECT_EQ(files->files()[0].role, FileRole::loose_objects);
  const auto objects = bundled(content(*files, 0));
  EXPECT_EQ(objects.size(), 3U);
  for (const auto& [hex, bytes] : objects) {
    EXPECT_EQ(bytes, scratch.read("objects/" + hex.substr(0, 2) + "/" + hex.substr(2)));
  }
  EXPECT_EQ(::pwrite(files->fd(0), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(files->fd(0), 0), -1);
}

TEST(RepositoryFiles, a_pack_is_followed_by_what_belongs_to_it) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.git("-c pack.writeReverseIndex=true repack -adbq");
  const Files files = opened(scratch);
  std::vector<FileRole> roles;
  for (const RepositoryFile& file : files->files()) roles.push_back(file.role);
  EXPECT_EQ(roles, (std::vector<FileRole>{FileRole::pack, FileRole::pack_index,
                                          FileRole::pack_reverse_index, FileRole::pack_bitmap}));
  EXPECT_TRUE(content(*files, 0).starts_with("PACK"));
  EXPECT_TRUE(content(*files, 1).starts_with("\377tOc"));
  EXPECT_TRUE(content(*files, 3).starts_with("BITM"));
  EXPECT_EQ(scratch.read("objects/pack/" + files->files()[0].name + ".pack"), content(*files, 0));
  EXPECT_EQ(files->files()[0].bytes, files->sizes()[0]);
}

TEST(RepositoryFiles, packs_with_a_bitmap_come_first_then_the_newest) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.git("repack -adbq");
  const std::string with_bitmap = names(*opened(scratch), FileRole::pack)[0];
  std::vector<std::string> expected = {with_bitmap};
  for (const char* text : {"two", "three"}) {
    grow(scratch, text);
    scratch.git("repack -dq");
    const auto now = names(*opened(scratch), FileRole::pack);
    for (const std::string& name : now) {
      if (std::ranges::find(expected, name) != expected.end()) continue;
      expected.insert(expected.begin() + 1, name);
      // Git's clock may not have moved on since the pack before.
      scratch.run("touch -d '2030-01-01 0" + std::to_string(expected.size()) + ":00' " +
                  scratch.path() + "/objects/pack/" + name.substr(2) + ".pack");
    }
  }
  EXPECT_EQ(names(*opened(scratch), FileRole::pack), expected);
  EXPECT_EQ(expected.size(), 3U);
}

TEST(RepositoryFiles, a_pack_without_an_index_is_a_push_in_progress) {
  const ScratchRepository scratch;
  const std::string name = "pack-" + std::string(40, 'a');
  scratch.write("objects/pack/" + name + ".pack", "PACK");
  scratch.write("objects/pack/tmp_pack_abc", "PACK");
  scratch.write("objects/pack/pack-nothing.pack", "PACK");
  scratch.write("objects/pack/pack-nothing.idx", "");
  scratch.write("objects/pack/pack-" + std::string(40, 'b') + ".idx", "no pack");
  EXPECT_TRUE(opened(scratch)->files().empty());
  scratch.write("objects/pack/" + name + ".idx", "an index");
  EXPECT_EQ(names(*opened(scratch), FileRole::pack), std::vector<std::string>{"0 " + name});
}

TEST(RepositoryFiles, finds_a_multi_pack_index_and_its_bitmap) {
  const ScratchRepository scratch;
  for (const char* text : {"one", "two"}) {
    grow(scratch, text);
    scratch.git("repack -dq");
  }
  scratch.git("multi-pack-index write --bitmap");
  scratch.write("objects/pack/multi-pack-index-" + std::string(40, 'c') + ".bitmap", "stale");
  const Files files = opened(scratch);
  EXPECT_EQ(count(*files, FileRole::pack), 2U);
  EXPECT_TRUE(content(*files, index_of(*files, FileRole::multi_pack_index)).starts_with("MIDX"));
  ASSERT_EQ(count(*files, FileRole::multi_pack_bitmap), 1U);
  EXPECT_TRUE(content(*files, index_of(*files, FileRole::multi_pack_bitmap)).starts_with("BITM"));
}

TEST(RepositoryFiles, finds_the_commit_graph_or_its_chain_from_the_base_on) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.git("commit-graph write --reachable --split=no-merge");
  grow(scratch, "two");
  scratch.git("commit-graph write --reachable --split=no-merge");
  const Files chain = opened(scratch);
  ASSERT_EQ(count(*chain, FileRole::commit_graph), 2U);
  const std::size_t first = index_of(*chain, FileRole::commit_graph);
  EXPECT_EQ(chain->files()[first].order, 0);
  EXPECT_EQ(chain->files()[first + 1].order, 1);
  const std::string graphs = scratch.read("objects/info/commit-graphs/commit-graph-chain");
  const std::string base = "objects/info/commit-graphs/graph-" + graphs.substr(0, 40) + ".graph";
  EXPECT_EQ(content(*chain, first), scratch.read(base));

  scratch.git("commit-graph write --reachable");
  const Files single = opened(scratch);
  ASSERT_EQ(count(*single, FileRole::commit_graph), 1U);
  EXPECT_EQ(content(*single, index_of(*single, FileRole::commit_graph)),
            scratch.read("objects/info/commit-graph"));
}

TEST(RepositoryFiles, a_chain_ends_where_a_part_is_missing) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.git("commit-graph write --reachable --split=no-merge");
  const std::string chain = "objects/info/commit-graphs/commit-graph-chain";
  scratch.run("chmod u+w " + scratch.path() + "/" + chain);
  scratch.write(chain, scratch.read(chain) + std::string(40, 'd') + "\n");
  EXPECT_EQ(count(*opened(scratch), FileRole::commit_graph), 1U);
  scratch.write(chain, "nonsense\n");
  EXPECT_EQ(count(*opened(scratch), FileRole::commit_graph), 0U);
}

TEST(RepositoryFiles, follows_alternates_as_git_does) {
  const ScratchRepository scratch;
  const auto borrowed = [&](const std::string& name) {
    const std::string path = scratch.folder() + "/" + name + ".git";
    const std::string shell = "'" + path + "'";
    scratch.run("git init -q --bare " + shell + "; cd " + shell +
                    "; git hash-object -w --stdin | " +
                    "git pack-objects -q objects/pack/pack; rm -rf objects/??",
                name);
    return path + "/objects";
  };
  const std::string near = borrowed("near"), far = borrowed("far"), quoted = borrowed("a \"b");
  scratch.write("objects/info/alternates", "# of old\n" + near +
                                               "\n\"../../a \\\"b.git/objects\"\n" +
                                               scratch.folder() + "/missing\n\n" + near + "\n");
  // Relative to its own folder, and a circle.
  std::ofstream(near + "/info/alternates") << "../../far.git/objects\n"
                                           << scratch.path() << "/objects\n";
  const Files files = opened(scratch);
  ASSERT_EQ(count(*files, FileRole::pack), 3U);
  for (std::size_t i = 0; i < files->files().size(); ++i) {
    const RepositoryFile& file = files->files()[i];
    if (file.role != FileRole::pack) continue;
    const std::string store = file.store == 1 ? near : file.store == 2 ? far : quoted;
    EXPECT_TRUE(std::filesystem::exists(store + "/pack/" + file.name + ".pack")) << file.store;
  }
}

TEST(RepositoryFiles, alternates_end_after_the_depth_that_git_follows) {
  const ScratchRepository scratch;
  std::string from = scratch.path() + "/objects";
  for (int level = 1; level <= 7; ++level) {
    const std::string path = scratch.folder() + "/" + std::to_string(level) + ".git";
    scratch.run("git init -q --bare " + path + "; git -C " + path + " hash-object -w --stdin",
                std::to_string(level));
    std::ofstream(from + "/info/alternates") << path << "/objects\n";
    from = path + "/objects";
  }
  const auto objects = bundled(content(*opened(scratch), 0));
  const std::string seen =
      scratch.run("cd " + scratch.path() +
                  "; git cat-file --batch-all-objects --batch-check 2>/dev/null"
                  " | wc -l");
  EXPECT_EQ(objects.size(), std::stoul(seen));
}

TEST(RepositoryFiles, alternates_outside_of_the_roots_are_denied) {
  const ScratchRepository scratch, other;
  scratch.write("objects/info/alternates", other.path() + "/objects\n");
  const auto files = open(scratch);
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().code, io::Errc::denied);
  // A root is a folder, not the beginning of a name.
  const std::vector<std::string> roots = {other.folder().substr(0, other.folder().size() - 1)};
  EXPECT_FALSE(
      RepositoryFiles::open(*scratch.repository(), ObjectFormat::sha1, nullptr, roots).has_value());
}

TEST(RepositoryFiles, says_which_repositories_do_not_hold_all_of_their_objects) {
  const std::pair<const char*, const char*> kinds[] = {
      {"shallow", "the repository is shallow"},
      {"info/grafts", "the repository has grafts"},
      {"objects/pack/pack-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.promisor",
       "the repository is a partial clone"}};
  for (const auto& [file, text] : kinds) {
    const ScratchRepository scratch;
    scratch.write(file, "");
    const auto files = open(scratch);
    ASSERT_FALSE(files) << file;
    EXPECT_EQ(files.error().code, io::Errc::invalid);
    EXPECT_STREQ(files.error().where, text);
  }
}

TEST(RepositoryFiles, fifos_links_and_folders_in_the_place_of_files_are_not_read) {
  const std::string pack = "objects/pack/pack-" + std::string(40, 'a');
  const std::string kinds[] = {
      "mkfifo " + pack + ".pack; touch " + pack + ".idx",
      "mkdir " + pack + ".pack; touch " + pack + ".idx",
      "ln -s /etc/passwd " + pack + ".pack; touch " + pack + ".idx",
      "touch " + pack + ".pack; mkfifo " + pack + ".idx",
      "touch " + pack + ".pack " + pack + ".idx; mkfifo " + pack + ".bitmap",
      "mkfifo objects/pack/multi-pack-index",
      "ln -s /etc/passwd objects/pack/multi-pack-index",
      "mkfifo objects/info/commit-graph",
      "mkfifo objects/info/alternates",
      "rm -r objects/info; ln -s /etc objects/info; ln -s /etc/passwd objects/pack/x",
      "mkdir objects/ab; mkfifo objects/ab/" + std::string(38, 'c'),
      "mkdir objects/ab; ln -s /etc/passwd objects/ab/" + std::string(38, 'c'),
      "ln -s /etc objects/ab",
      "rm -r objects/pack; ln -s /etc objects/pack",
  };
  for (const std::string& kind : kinds) {
    const ScratchRepository scratch;
    scratch.run("cd " + scratch.path() + "; " + kind);
    const auto files = open(scratch);
    ASSERT_FALSE(files) << kind;
    EXPECT_EQ(files.error().code, io::Errc::invalid) << kind << ": " << files.error().where;
  }
}

TEST(RepositoryFiles, its_bounds_hold) {
  const ScratchRepository many, large, packs;
  // Empty files, the name's last digits counting up.
  const auto fill = [](const ScratchRepository& scratch, const std::string& stem,
                       const char* suffix, std::size_t digits, std::size_t files) {
    for (std::size_t i = 0; i < files; ++i) {
      std::string number = std::to_string(i);
      number.insert(0, digits - number.size(), '0');
      const std::string path = scratch.path() + "/" + stem + number + suffix;
      const io::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
  };
  many.run("mkdir " + many.path() + "/objects/ab");
  fill(many, "objects/ab/", "", 38, kLooseObjectsMax + 1);
  fill(packs, "objects/pack/pack-", ".pack", 40, kRepositoryFilesMax / 2 + 1);
  fill(packs, "objects/pack/pack-", ".idx", 40, kRepositoryFilesMax / 2 + 1);
  large.run("mkdir -p " + large.path() + "/objects/ab; truncate -s 65M " + large.path() +
            "/objects/ab/" + std::string(38, 'c'));
  for (const ScratchRepository* scratch : {&many, &large, &packs}) {
    const auto files = open(*scratch);
    ASSERT_FALSE(files);
    EXPECT_EQ(files.error().code, io::Errc::limit) << files.error().where;
  }
}

TEST(RepositoryFiles, what_is_the_same_keeps_its_descriptors_and_its_number) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.git("repack -adq");
  grow(scratch, "two");
  const Files before = opened(scratch);
  scratch.run("touch " + scratch.path() + "/objects/pack");
  EXPECT_FALSE(before->still_current());
  const Files same = opened(scratch, before);
  EXPECT_EQ(same->number(), before->number());
  EXPECT_EQ(same->fd(0), before->fd(0));

  grow(scratch, "three");
  const Files grown = opened(scratch, same);
  EXPECT_NE(grown->number(), before->number());
  EXPECT_EQ(grown->fd(0), before->fd(0));
  EXPECT_EQ(bundled(content(*grown, grown->files().size() - 1)).size(), 6U);
  EXPECT_NE(opened(scratch)->number(), grown->number());
}

TEST(RepositoryFiles, loose_objects_known_before_are_not_read_again) {
  const ScratchRepository scratch;
  const std::string blob = grow(scratch, "one");
  const Files before = opened(scratch);
  const std::string path = "objects/" + blob.substr(0, 2) + "/" + blob.substr(2);
  const std::string bytes = scratch.read(path);
  scratch.run("chmod u+w " + scratch.path() + "/" + path);
  scratch.write(path, "broken since");
  grow(scratch, "two");
  const Files after = opened(scratch, before);
  EXPECT_EQ(bundled(content(*after, 0))[blob], bytes);
}

TEST(RepositoryFiles, a_pack_that_was_replaced_is_opened_anew) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.git("repack -adq");
  const Files before = opened(scratch);
  const std::string pack = "objects/pack/" + before->files()[0].name + ".pack";
  scratch.run("cd " + scratch.path() + "; cp " + pack + " x; mv -f x " + pack);
  const Files after = opened(scratch, before);
  EXPECT_NE(after->number(), before->number());
  EXPECT_NE(after->fd(0), before->fd(0));
  EXPECT_EQ(after->fd(1), before->fd(1));
}

TEST(RepositoryFiles, an_old_set_still_reads_what_a_repack_deleted) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.git("repack -adq");
  const Files before = opened(scratch);
  const std::string bytes = content(*before, 0);
  grow(scratch, "two");
  scratch.git("repack -adq");
  EXPECT_FALSE(before->still_current());
  EXPECT_FALSE(std::filesystem::exists(scratch.path() + "/objects/pack/" + before->files()[0].name +
                                       ".pack"));
  EXPECT_EQ(content(*before, 0), bytes);
  EXPECT_EQ(count(*opened(scratch, before), FileRole::pack), 1U);
}

// What is as young as a tick of the kernel's clock is not trusted, so the folders are made old.
TEST(RepositoryFiles, sees_every_kind_of_change) {
  const ScratchRepository scratch;
  grow(scratch, "one");
  scratch.git("repack -adq");
  grow(scratch, "two");
  const std::string loose = scratch.run("cd " + scratch.path() + "/objects; ls -d ?? | head -1");
  const std::string folder = scratch.path() + "/objects/" + loose.substr(0, 2);
  const std::string changes[] = {
      "touch " + scratch.path() + "/objects/pack/new",
      "touch " + folder + "/new",
      "rmdir " + scratch.path() + "/objects/ee 2>/dev/null || mkdir " + scratch.path() +
          "/objects/ee",
      "echo /x > " + scratch.path() + "/objects/info/alternates",
      "touch " + scratch.path() + "/objects/info/commit-graph",
      "touch " + scratch.path() + "/shallow",
  };
  for (const std::string& change : changes) {
    Files files = opened(scratch);
    while (files != nullptr && !files->still_current()) files = opened(scratch, files);  // a tick
    ASSERT_NE(files, nullptr);
    scratch.run(change);
    EXPECT_FALSE(files->still_current()) << change;
  }
}

TEST(RepositoryFiles, serves_while_others_repack) {
  const ScratchRepository scratch;
  for (const char* text : {"one", "two", "three"}) {
    grow(scratch, text);
    scratch.git("repack -dq");
  }
  const std::string done = scratch.folder() + "/done";
  scratch.run("(for i in 1 2 3 4 5 6 7 8; do echo $i | git -C " + scratch.path() +
              " hash-object -w --stdin >/dev/null; git -C " + scratch.path() +
              " repack -adq; done; touch " + done + ") >/dev/null 2>&1 &");
  Files files;
  int opens = 0;
  do {
    auto next = open(scratch, files);
    if (!next) {  // git was quicker three times in a row
      EXPECT_EQ(next.error().code, io::Errc::unavailable) << next.error().where;
      continue;
    }
    files = *next;
    ++opens;
    for (std::size_t i = 0; i < files->files().size(); ++i) content(*files, i);
  } while (!std::filesystem::exists(done));
  EXPECT_GT(opens, 0);
}

TEST(Alternates, are_read_as_git_reads_them) {
  const std::pair<std::string, std::vector<std::string>> texts[] = {
      {"", {}},
      {"\n\n", {}},
      {"/a\n", {"/a"}},
      {"/a", {"/a"}},
      {"../b\n# no\n/c d\n", {"../b", "/c d"}},
      {"\"/a b\"\n/c\n", {"/a b", "/c"}},
      {"\"/a\\\"\\\\\\n\\303\\251\"\n", {"/a\"\\\n\303\251"}},
      {"\"/a\nb\"\n", {"/a\nb"}},
      {"\"/a\n/b\n", {"\"/a", "/b"}},
      {"\"/a\\q\"\n", {"\"/a\\q\""}},
      {"\"/a\\48\"\n", {"\"/a\\48\""}},
      {"\"/a\\4", {"\"/a\\4"}},
      {"\"\\", {"\"\\"}},
      {"\"\"\n", {}},
      {"\"", {"\""}},
  };
  for (const auto& [text, paths] : texts) EXPECT_EQ(parse_alternates(text), paths) << text;
}

}  // namespace
}  // namespace weir::git
