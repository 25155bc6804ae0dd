#include "git/fetch_request.h"

#include <gtest/gtest.h>

#include "tests/git/pkt_text.h"

namespace weir::git {
namespace {

io::Result<FetchRequest> v2(std::vector<std::string> lines) {
  const std::vector<std::string_view> views(lines.begin(), lines.end());
  return parse_v2_fetch(views, ObjectFormat::sha1);
}
io::Result<FetchRequest> v0(const std::string& body) {
  return parse_v0_fetch(body, ObjectFormat::sha1);
}

TEST(FetchRequest, reads_every_argument_of_v2) {
  const auto request =
      v2({"thin-pack", "no-progress", "include-tag", "ofs-delta", "wait-for-done", "want " + kIdA,
          "want " + kIdA, "have " + kIdB, "shallow " + kIdB, "deepen-since 1700000000",
          "deepen-not refs/heads/old", "deepen-relative", "filter blob:none",
          "want-ref refs/heads/main", "sideband-all", "packfile-uris https", "done"});
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->wants.size(), 1U);
  EXPECT_EQ(request->haves.size(), 1U);
  EXPECT_EQ(request->shallows.size(), 1U);
  EXPECT_EQ(request->deepen_since, 1'700'000'000);
  EXPECT_EQ(request->deepen_not, std::vector<std::string>{"refs/heads/old"});
  EXPECT_EQ(request->filter, "blob:none");
  EXPECT_EQ(request->want_refs.size(), 1U);
  EXPECT_TRUE(request->thin_pack && request->no_progress && request->include_tag);
  EXPECT_TRUE(request->ofs_delta && request->wait_for_done && request->deepen_relative);
  EXPECT_TRUE(request->sideband_all && request->done && request->shallow_answer());
}

TEST(FetchRequest, accepts_any_depth_that_git_sends) {
  for (const char* depth : {"1", "50", "2147483647"}) {
    const auto request = v2({"want " + kIdA, std::string("deepen ") + depth});
    ASSERT_TRUE(request.has_value()) << depth;
    EXPECT_EQ(request->deepen, std::atoll(depth));
  }
}

TEST(FetchRequest, refuses_bad_arguments_of_v2) {
  for (const std::string& line :
       std::vector<std::string>{"want",
                                "want " + kIdA + "a",
                                "want " + kIdA.substr(1),
                                "want " + kIdA + " x",
                                "want refs/heads/main",
                                "want " + std::string(64, 'a'),
                                "have ",
                                "have " + kIdA + "\n",
                                "shallow " + std::string(40, 'g'),
                                "deepen 0",
                                "deepen -1",
                                "deepen 0x10",
                                "deepen 017777777777",  // git would read 2147483647
                                "deepen 010",
                                "deepen 2147483648",
                                "deepen 99999999999999999999",
                                "deepen ",
                                "deepen 1 ",
                                "deepen-since yesterday",
                                "deepen-since -5",
                                "deepen-since 017",
                                "deepen-not ",
                                "deepen-not a b",
                                "filter ",
                                "filter " + std::string(kFilterBytesMax + 1, 'x'),
                                "filter a b",
                                "want-ref ",
                                "packfile-uris ",
                                "DONE",
                                "done ",
                                "",
                                "unknown",
                                "agent=x"}) {
    EXPECT_FALSE(v2({line}).has_value()) << line;
  }
  EXPECT_FALSE(v2({"deepen 1", "deepen-since 5"}).has_value());
  EXPECT_FALSE(v2({"deepen 1", "deepen-not refs/heads/x"}).has_value());
  EXPECT_FALSE(v2({"deepen 1", "deepen 2"}).has_value());
  EXPECT_FALSE(v2({"filter blob:none", "filter tree:0"}).has_value());
}

TEST(FetchRequest, bounds_repeated_haves) {
  std::vector<std::string> lines(kHaveRepeatsMax + 1, "have " + kIdA);
  EXPECT_TRUE(v2(lines).has_value());
  lines.push_back(lines[0]);
  EXPECT_FALSE(v2(lines).has_value());
}

TEST(FetchRequest, reads_a_v0_clone) {
  const auto request =
      v0(pkts({"want " + kIdA +
                   " multi_ack_detailed no-done side-band-64k "
                   "thin-pack include-tag ofs-delta deepen-since agent=git/2.39.5\n",
               "want " + kIdB + "\n", "0000", "done\n"}));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->wants.size(), 2U);
  EXPECT_EQ(request->sideband, SidebandKind::large);
  EXPECT_EQ(request->agent, "git/2.39.5");
  EXPECT_TRUE(request->done && request->thin_pack && request->ofs_delta);
  EXPECT_TRUE(request->haves.empty());
}

TEST(FetchRequest, reads_v0_rounds_shallow_lines_and_filters) {
  const auto request =
      v0(pkts({"want " + kIdA + " side-band filter\n", "shallow " + kIdB + "\n", "deepen 3\n",
               "filter tree:1\n", "0000", "have " + kIdA + "\n", "0000", "have " + kIdB, "0000"}));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->sideband, SidebandKind::small);
  EXPECT_EQ(request->haves.size(), 2U);
  EXPECT_EQ(request->deepen, 3);
  EXPECT_EQ(request->filter, "tree:1");
  EXPECT_FALSE(request->done);
  // The first request of a deepening client ends behind its wants.
  EXPECT_TRUE(v0(pkts({"want " + kIdA, "deepen 1", "0000"})).has_value());
  EXPECT_EQ(v0(pkts({"want " + kIdA, "0000"}))->sideband, SidebandKind::none);
}

TEST(FetchRequest, refuses_bad_requests_of_v0) {
  for (const std::string& body : std::vector<std::string>{
           "",
           "0000",
           "PACK",
           "000",
           pkts({"want " + kIdA}),
           pkts({"want " + kIdA, "0001"}),
           pkts({"want " + kIdA + "\tx", "0000"}),
           pkts({"want x", "0000"}),
           pkts({"have " + kIdA, "0000"}),
           pkts({"0000", "done"}),
           pkts({"want " + kIdA, "have " + kIdA, "0000"}),
           pkts({"want " + kIdA, "done", "0000"}),
           pkts({"want " + kIdA, "0000", "want " + kIdB}),
           pkts({"want " + kIdA, "0000", "deepen 1"}),
           pkts({"want " + kIdA, "0000", "shallow " + kIdA}),
           pkts({"want " + kIdA, "0000", "have " + kIdA + "0"}),
           pkts({"want " + kIdA, "0000", "done", "done"}),
           pkts({"want " + kIdA, "0000", "done"}) + "0",
           pkts({"want " + kIdA, "deepen x", "0000"}),
           pkts({"want " + kIdA + " object-format=sha256", "0000"}),
           pkts({"want " + kIdA, "hello", "0000"}),
           pkts({"want " + kIdA, std::string_view("deepen 1\0", 9), "0000"}),
           "0032want " + kIdA,
       }) {
    EXPECT_FALSE(v0(body).has_value()) << body;
  }
}

TEST(FetchRequest, reads_the_ids_of_object_info) {
  const std::string line = "oid " + kIdA;
  const std::vector<std::string_view> good{"size", line};
  ASSERT_TRUE(parse_object_info(good, ObjectFormat::sha1).has_value());
  EXPECT_EQ(parse_object_info(good, ObjectFormat::sha1)->size(), 1U);
  for (const std::string_view bad : {"type", "oid", "oid abc", "oid HEAD", ""}) {
    const std::vector<std::string_view> lines{bad};
    EXPECT_FALSE(parse_object_info(lines, ObjectFormat::sha1).has_value()) << bad;
  }
}

}  // namespace
}  // namespace weir::git
