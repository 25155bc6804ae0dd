#include "git/v2_request.h"

#include <gtest/gtest.h>

#include "tests/git/pkt_text.h"

namespace weir::git {
namespace {

TEST(V2Request, reads_command_capabilities_and_arguments) {
  const std::string body =
      pkts({"command=ls-refs\n", "agent=git/2.39.5", "object-format=sha1", "server-option=a=b",
            "session-id=x", "0001", "peel\n", "ref-prefix refs/heads/\n", "0000"});
  const auto request = parse_v2_request(body, ObjectFormat::sha1);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->command, "ls-refs");
  EXPECT_EQ(request->agent, "git/2.39.5");
  EXPECT_EQ(request->session_id, "x");
  ASSERT_EQ(request->server_options.size(), 1U);
  EXPECT_EQ(request->server_options[0], "a=b");
  ASSERT_EQ(request->arguments.size(), 2U);
  EXPECT_EQ(request->arguments[0], "peel");
  EXPECT_EQ(request->arguments[1], "ref-prefix refs/heads/");
}

TEST(V2Request, accepts_what_git_accepts) {
  for (const std::string& body : {
           pkts({"command=fetch", "0000"}),
           pkts({"agent=x", "command=fetch", "0001", "0000"}),
           pkts({"command=object-info", "object-format=sha1", "0001", "size", "0000"}),
       }) {
    EXPECT_TRUE(parse_v2_request(body, ObjectFormat::sha1).has_value()) << body;
  }
  EXPECT_TRUE(parse_v2_request(pkts({"command=fetch", "object-format=sha256", "0000"}),
                               ObjectFormat::sha256)
                  .has_value());
}

TEST(V2Request, refuses_what_is_no_request) {
  const std::string capabilities_beyond_the_limit = [] {
    std::string body = pkts({"command=fetch"});
    for (std::size_t i = 0; i <= kV2CapabilitiesMax; ++i) append_pkt(body, "server-option=x");
    return body + "0000";
  }();
  for (const std::string& body : {
           std::string(""),
           std::string("0000"),
           std::string("0001"),
           std::string("PACK"),
           std::string("0014command=ls-refs"),
           pkts({"command=fetch"}),
           pkts({"command=fetch", "0001"}),
           pkts({"command=fetch", "0001", "done"}),
           pkts({"command=fetch", "0001", "0001", "0000"}),
           pkts({"command=fetch", "0002", "0000"}),
           pkts({"command=fetch", "0000", "0000"}),
           pkts({"command=fetch", "0000", "command=fetch"}),
           pkts({"command=fetch", "command=ls-refs", "0000"}),
           pkts({"command=", "0000"}),
           pkts({"command=push", "0000"}),
           pkts({"command=bundle-uri", "0000"}),
           pkts({"Command=fetch", "0000"}),
           pkts({"fetch", "0000"}),
           pkts({"agent=x", "0000"}),
           pkts({"command=fetch", "unknown=1", "0000"}),
           pkts({"command=fetch", "", "0000"}),
           pkts({"command=fetch", "object-format=sha256", "0000"}),
           pkts({"command=fetch", "object-format=md5", "0000"}),
           pkts({std::string_view("command=fetch\0x", 15), "0000"}),
           pkts({"command=fetch", "0001", std::string_view("done\0", 5), "0000"}),
           capabilities_beyond_the_limit,
       }) {
    EXPECT_FALSE(parse_v2_request(body, ObjectFormat::sha1).has_value()) << body;
  }
}

TEST(V2Request, silence_about_the_object_format_means_sha1) {
  EXPECT_FALSE(parse_v2_request(pkts({"command=fetch", "0000"}), ObjectFormat::sha256));
}

}  // namespace
}  // namespace weir::git
