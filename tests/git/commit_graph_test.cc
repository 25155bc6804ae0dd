#include "git/commit_graph.h"

#include <gtest/gtest.h>

#include "tests/git/chunk_file.h"
#include "tests/git/history_repository.h"

namespace weir::git {
namespace {

using Files = std::vector<BigEndianBytes>;

io::Result<CommitGraph> open(const Files& files, ObjectFormat format = ObjectFormat::sha1) {
  std::vector<std::span<const std::uint8_t>> spans;
  for (const BigEndianBytes& file : files) spans.push_back(file.span());
  return CommitGraph::open(spans, format);
}

Files graph_files(const HistoryRepository& history) {
  const std::string folder = "objects/info/";
  if (std::filesystem::exists(history.path() + "/" + folder + "commit-graph")) {
    return {BigEndianBytes(history.read(folder + "commit-graph"))};
  }
  Files files;
  std::istringstream chain(history.read(folder + "commit-graphs/commit-graph-chain"));
  for (std::string hash; chain >> hash;) {
    files.emplace_back(history.read(folder + "commit-graphs/graph-" + hash + ".graph"));
  }
  return files;
}

struct Expected {
  std::string tree;
  std::uint64_t date_s = 0;
  std::vector<std::string> parents;
  std::uint64_t level = 1;
  std::uint64_t corrected_date = 0;
};

// What the commits themselves say; generations as the format defines them.
std::map<std::string, Expected> commits_of(const HistoryRepository& history) {
  std::map<std::string, Expected> commits;
  std::istringstream lines(history.git(
      "-c core.commitGraph=false log --all --topo-order --reverse --format='%H %T %ct %P'"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    Expected commit;
    words >> name >> commit.tree >> commit.date_s;
    commit.corrected_date = commit.date_s;
    for (std::string parent; words >> parent;) {
      commit.parents.push_back(parent);
      const Expected& before = commits.at(parent);
      commit.level = std::max(commit.level, before.level + 1);
      commit.corrected_date = std::max(commit.corrected_date, before.corrected_date + 1);
    }
    commits[name] = commit;
  }
  return commits;
}

void expect_same_as_the_commits(const HistoryRepository& history, const CommitGraph& graph) {
  const auto commits = commits_of(history);
  EXPECT_EQ(graph.count(), commits.size());
  CommitGraph::Commit commit;
  for (const auto& [name, expected] : commits) {
    const auto position = graph.find(*ObjectId::from_hex(name));
    ASSERT_TRUE(position) << name;
    EXPECT_EQ(graph.id_at(*position).to_hex(), name);
    const auto read = graph.read(*position, commit);
    ASSERT_TRUE(read) << io::to_string(read.error());
    EXPECT_EQ(commit.tree.to_hex(), expected.tree);
    EXPECT_EQ(commit.date_s, expected.date_s);
    std::vector<std::string> parents;
    for (const std::uint32_t parent : commit.parents)
      parents.push_back(graph.id_at(parent).to_hex());
    EXPECT_EQ(parents, expected.parents);
    EXPECT_EQ(commit.generation,
              graph.has_corrected_dates() ? expected.corrected_date : expected.level);
  }
  EXPECT_FALSE(graph.find(*ObjectId::from_hex(commits.begin()->second.tree)));
}

TEST(CommitGraph, says_what_the_commits_say) {
  const HistoryRepository history(60);
  for (const int version : {2, 1}) {
    history.git("-c commitGraph.generationVersion=" + std::to_string(version) +
                " commit-graph write --reachable --changed-paths --no-progress");
    const Files files = graph_files(history);
    const auto graph = open(files);
    ASSERT_TRUE(graph) << io::to_string(graph.error());
    EXPECT_EQ(graph->has_corrected_dates(), version == 2);
    expect_same_as_the_commits(history, *graph);
  }
}

TEST(CommitGraph, says_so_in_repositories_of_sha256) {
  const HistoryRepository history(30, ObjectFormat::sha256);
  history.git("commit-graph write --reachable --no-progress");
  const Files files = graph_files(history);
  const auto graph = open(files, ObjectFormat::sha256);
  ASSERT_TRUE(graph) << io::to_string(graph.error());
  expect_same_as_the_commits(history, *graph);
  EXPECT_FALSE(open(files));
}

TEST(CommitGraph, reads_a_chain_of_files) {
  HistoryRepository history(20);
  for (int layer = 0; layer < 3; ++layer) {
    if (layer > 0) history.grow(20);
    history.git("commit-graph write --reachable --split=no-merge --no-progress");
  }
  const Files files = graph_files(history);
  ASSERT_EQ(files.size(), 3U);
  const auto graph = open(files);
  ASSERT_TRUE(graph) << io::to_string(graph.error());
  EXPECT_TRUE(graph->has_corrected_dates());
  expect_same_as_the_commits(history, *graph);

  EXPECT_FALSE(open({files[0], files[2], files[1]}));
  EXPECT_FALSE(open({files[1], files[2]}));
  EXPECT_FALSE(open({files[2]}));
  EXPECT_TRUE(open({files[0], files[1]}));
  Files other = files;
  other[1].str().back() ^= 1;  // its checksum, which the third file names
  EXPECT_FALSE(open(other));
}

TEST(CommitGraph, uses_levels_where_one_file_of_a_chain_has_no_dates) {
  HistoryRepository history(20);
  history.git(
      "-c commitGraph.generationVersion=1 commit-graph write --reachable --no-progress"
      " --split=no-merge");
  history.grow(20);
  history.git("commit-graph write --reachable --split=no-merge --no-progress");
  const Files files = graph_files(history);
  ASSERT_EQ(files.size(), 2U);
  const auto graph = open(files);
  ASSERT_TRUE(graph) << io::to_string(graph.error());
  EXPECT_FALSE(graph->has_corrected_dates());
  expect_same_as_the_commits(history, *graph);
}

TEST(CommitGraph, reads_dates_beyond_32_bits_and_corrections_beyond_31) {
  const HistoryRepository history(3);
  const std::string commit = " git -C " + history.path() + " commit-tree -m x main^{tree} -p ";
  std::string future = history.run("GIT_COMMITTER_DATE='@17179869183 +0000'" + commit + "main");
  future.pop_back();
  const std::string past = history.run("GIT_COMMITTER_DATE='@5 +0000'" + commit + future);
  history.git("update-ref refs/heads/main " + past);
  history.git("commit-graph write --reachable --no-progress");
  const Files files = graph_files(history);
  const auto graph = open(files);
  ASSERT_TRUE(graph) << io::to_string(graph.error());
  expect_same_as_the_commits(history, *graph);
  EXPECT_NE(files[0].str().find("GDO2"), std::string::npos);
}

// A graph by hand: commits 0, 1, 2 with names of those first bytes; 0 has no parent, 1 has 0, and
// 2 has 0, 1 and 0 again by way of the list of edges.
constexpr std::uint32_t kNoParent = 0x70000000;
constexpr std::uint32_t kHighBit = 0x80000000;
constexpr std::size_t kRowBytes = 36;

std::string commit_row(std::uint32_t first, std::uint32_t second, std::uint32_t level,
                       std::uint64_t date) {
  return BigEndianBytes()
      .fill(20, 'T')
      .u32(first)
      .u32(second)
      .u32(level << 2 | date >> 32)
      .u32(date & 0xffffffff)
      .str();
}
std::string names(const std::vector<std::uint8_t>& first_bytes) {
  BigEndianBytes out;
  for (const std::uint8_t first : first_bytes) out.u8(first).fill(19, 'n');
  return out.str();
}
ChunkFile draft_graph() {
  return {
      .head = BigEndianBytes().text("CGPH").u8(1).u8(1).u8(6).u8(0).str(),
      .chunks = {{"OIDF", fan_out({0, 1, 2})},
                 {"OIDL", names({0, 1, 2})},
                 {"CDAT", commit_row(kNoParent, kNoParent, 1, 100) +
                              commit_row(0, kNoParent, 2, 50) + commit_row(0, kHighBit, 3, 200)},
                 {"GDA2", BigEndianBytes().u32(0).u32(51).u32(kHighBit).str()},
                 {"GDO2", BigEndianBytes().u64(std::uint64_t{1} << 40).str()},
                 {"EDGE", BigEndianBytes().u32(1).u32(kHighBit).str()}}};
}
void drop(ChunkFile& file, const std::string& name) {
  file.remove(name);
  file.head[6] = static_cast<char>(file.chunks.size());
}

// The parents of commit 2, and the list of edges.
void set(ChunkFile& file, std::uint32_t first, std::uint32_t second) {
  BigEndianBytes rows(file.chunk("CDAT"));
  rows.set_u32(2 * kRowBytes + 20, first).set_u32(2 * kRowBytes + 24, second);
  file.chunk("CDAT") = rows.str();
}
void set_edges(ChunkFile& file, const std::vector<std::uint32_t>& edges) {
  BigEndianBytes out;
  for (const std::uint32_t edge : edges) out.u32(edge);
  file.chunk("EDGE") = out.str();
}

TEST(CommitGraph, reads_edges_and_corrections) {
  const Files files = {draft_graph().bytes()};
  const auto graph = open(files);
  ASSERT_TRUE(graph) << io::to_string(graph.error());
  CommitGraph::Commit commit;
  ASSERT_TRUE(graph->read(2, commit));
  EXPECT_EQ(commit.parents, (std::vector<std::uint32_t>{0, 1, 0}));
  EXPECT_EQ(commit.generation, 200 + (std::uint64_t{1} << 40));
  ASSERT_TRUE(graph->read(1, commit));
  EXPECT_EQ(commit.parents, (std::vector<std::uint32_t>{0}));
  EXPECT_EQ(commit.generation, 101U);
  EXPECT_EQ(commit.date_s, 50U);
  ASSERT_TRUE(graph->read(0, commit));
  EXPECT_TRUE(commit.parents.empty());
}

TEST(CommitGraph, refuses_files_that_are_not_what_they_should_be) {
  const struct {
    const char* what;
    void (*change)(ChunkFile&);
    const char* why;
  } refused[] = {
      {"another kind of file", [](ChunkFile& f) { f.head[0] = 'X'; }, "commit-graph: not one"},
      {"version 2", [](ChunkFile& f) { f.head[4] = 2; }, "commit-graph: version"},
      {"another hash", [](ChunkFile& f) { f.head[5] = 2; }, "commit-graph: of another hash"},
      {"no such hash", [](ChunkFile& f) { f.head[5] = 3; }, "commit-graph: of another hash"},
      {"the second of a chain", [](ChunkFile& f) { f.head[7] = 1; },
       "commit-graph: not at this place of a chain"},
      {"fewer chunks than it has", [](ChunkFile& f) { f.head[6] = 5; }, "chunks: not so many"},
      {"no fan-out", [](ChunkFile& f) { drop(f, "OIDF"); }, "names: no fan-out"},
      {"no names", [](ChunkFile& f) { drop(f, "OIDL"); }, "names: not as many as the fan-out says"},
      {"no commit data", [](ChunkFile& f) { drop(f, "CDAT"); },
       "commit-graph: size of the commit data"},
      {"too little commit data", [](ChunkFile& f) { f.chunk("CDAT").pop_back(); },
       "commit-graph: size of the commit data"},
      {"too much commit data", [](ChunkFile& f) { f.chunk("CDAT") += 'x'; },
       "commit-graph: size of the commit data"},
      {"too little generation data", [](ChunkFile& f) { f.chunk("GDA2").pop_back(); },
       "commit-graph: size of the generation data"},
      {"no generation data though there is a place for it",
       [](ChunkFile& f) { f.chunk("GDA2").clear(); }, "commit-graph: size of the generation data"},
      {"bases without being on one",
       [](ChunkFile& f) {
         f.chunks.emplace_back("BASE", std::string(20, 'b'));
         f.head[6] = 7;
       },
       "commit-graph: how many bases"},
  };
  for (const auto& row : refused) {
    ChunkFile file = draft_graph();
    row.change(file);
    const auto graph = open({file.bytes()});
    ASSERT_FALSE(graph) << row.what;
    EXPECT_STREQ(graph.error().where, row.why) << row.what;
  }
  EXPECT_FALSE(open({}));
  EXPECT_FALSE(open({BigEndianBytes()}));
}

TEST(CommitGraph, refuses_a_file_cut_off_anywhere) {
  const std::string whole = draft_graph().bytes().str();
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(open({BigEndianBytes(whole.substr(0, bytes))})) << bytes;
  }
}

TEST(CommitGraph, refuses_chains_that_do_not_fit_together) {
  const auto layer_on = [](const std::string& bases, std::uint8_t number) {
    ChunkFile file = draft_graph();
    file.chunks.emplace_back("BASE", bases);
    file.head[6] = 7;
    file.head[7] = static_cast<char>(number);
    file.trailer = std::string(20, static_cast<char>('t' + number));
    return file.bytes();
  };
  const BigEndianBytes base = draft_graph().bytes();
  const std::string t(20, 't');
  const std::string u(20, 'u');
  EXPECT_TRUE(open({base, layer_on(t, 1)}));
  EXPECT_TRUE(open({base, layer_on(t, 1), layer_on(t + u, 2)}));
  EXPECT_EQ(open({base, layer_on(t, 1)})->count(), 6U);

  EXPECT_FALSE(open({base, base}));
  EXPECT_FALSE(open({base, layer_on(u, 1)})) << "on another base";
  EXPECT_FALSE(open({base, layer_on("", 1)})) << "on none";
  EXPECT_FALSE(open({base, layer_on(t.substr(1), 1)})) << "on half a name";
  EXPECT_FALSE(open({base, layer_on(t + u, 1)})) << "on more than there are";
  EXPECT_FALSE(open({base, layer_on(t, 2)})) << "at another place";
  EXPECT_FALSE(open({base, layer_on(t, 1), layer_on(u + t, 2)})) << "the other way round";
  EXPECT_FALSE(open({base, layer_on(t, 1), layer_on(t + t, 2)})) << "one base twice";
}

TEST(CommitGraph, refuses_positions_that_lead_nowhere_when_they_are_followed) {
  const char* const parent = "commit-graph: a parent that cannot be";
  const char* const list = "commit-graph: a list of parents without end";
  const struct {
    const char* what;
    void (*change)(ChunkFile&);
    const char* why;
  } refused[] = {
      {"itself", [](ChunkFile& f) { set(f, 2, kNoParent); }, parent},
      {"itself as second", [](ChunkFile& f) { set(f, 0, 2); }, parent},
      {"behind the last commit", [](ChunkFile& f) { set(f, 3, kNoParent); }, parent},
      {"second behind the last commit", [](ChunkFile& f) { set(f, 0, 3); }, parent},
      {"as far as a position can", [](ChunkFile& f) { set(f, 0x6fffffff, kNoParent); }, parent},
      {"a list where a first parent should be", [](ChunkFile& f) { set(f, kHighBit, kNoParent); },
       parent},
      {"a second without a first", [](ChunkFile& f) { set(f, kNoParent, 1); },
       "commit-graph: a second parent without a first"},
      {"a list without a first", [](ChunkFile& f) { set(f, kNoParent, kHighBit); },
       "commit-graph: a second parent without a first"},
      {"a list behind the lists", [](ChunkFile& f) { set(f, 0, kHighBit + 2); }, list},
      {"a list as far as a number can", [](ChunkFile& f) { set(f, 0, 0xffffffff); }, list},
      {"a list where there are none", [](ChunkFile& f) { drop(f, "EDGE"); }, list},
      {"a list without end", [](ChunkFile& f) { set_edges(f, {1, 1, 0}); }, list},
      {"half a number in a list", [](ChunkFile& f) { f.chunk("EDGE").resize(7); }, list},
      {"itself in a list", [](ChunkFile& f) { set_edges(f, {1, 2 + kHighBit}); }, parent},
      {"nowhere in a list", [](ChunkFile& f) { set_edges(f, {3, kHighBit}); }, parent},
      {"no parent in a list", [](ChunkFile& f) { set_edges(f, {kNoParent, kHighBit}); }, parent},
      {"nowhere at the end of a list", [](ChunkFile& f) { set_edges(f, {1, 0xffffffff}); }, parent},
      {"more parents than we read",
       [](ChunkFile& f) {
         set_edges(f, std::vector<std::uint32_t>(kCommitParentsMax, 1));
         f.chunk("EDGE") += BigEndianBytes().u32(kHighBit).str();
       },
       list},
      {"a correction that is not there", [](ChunkFile& f) { drop(f, "GDO2"); },
       "commit-graph: a date that is not there"},
      {"half a correction", [](ChunkFile& f) { f.chunk("GDO2").pop_back(); },
       "commit-graph: a date that is not there"},
      {"a correction beyond numbers",
       [](ChunkFile& f) { f.chunk("GDO2") = std::string(8, '\xff'); },
       "commit-graph: a date beyond numbers"},
  };
  for (const auto& row : refused) {
    ChunkFile file = draft_graph();
    row.change(file);
    const Files files = {file.bytes()};
    const auto graph = open(files);
    ASSERT_TRUE(graph) << row.what << ": " << io::to_string(graph.error());
    CommitGraph::Commit commit;
    EXPECT_TRUE(graph->read(1, commit)) << row.what;
    const auto read = graph->read(2, commit);
    ASSERT_FALSE(read) << row.what;
    EXPECT_STREQ(read.error().where, row.why) << row.what;
  }
}

TEST(CommitGraph, refuses_a_base_whose_commits_have_parents_above_it) {
  ChunkFile base = draft_graph();
  BigEndianBytes rows(base.chunk("CDAT"));
  base.chunk("CDAT") = rows.set_u32(20, 4).str();
  ChunkFile tip = draft_graph();
  tip.chunks.emplace_back("BASE", std::string(20, 't'));
  tip.head[6] = 7;
  tip.head[7] = 1;
  const Files files = {base.bytes(), tip.bytes()};
  const auto graph = open(files);
  ASSERT_TRUE(graph) << io::to_string(graph.error());
  CommitGraph::Commit commit;
  EXPECT_FALSE(graph->read(0, commit));
  EXPECT_TRUE(graph->read(4, commit));  // whose parent 0 is in the base
}

}  // namespace
}  // namespace weir::git
