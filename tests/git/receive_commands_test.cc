#include "git/receive_commands.h"

#include <gtest/gtest.h>

#include "tests/git/pkt_text.h"

namespace weir::git {
namespace {

using std::string_literals::operator""s;

std::string update(const std::string& ref, const std::string& capabilities = "") {
  std::string line = kIdA + " " + kIdB + " " + ref;
  if (!capabilities.empty()) line += "\0"s + capabilities;
  return line;
}
const std::string kCapabilities =
    " report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5";

TEST(ReceiveCommands, reads_a_push_and_stops_at_the_pack) {
  const std::string head = pkts({"shallow " + kIdA, update("refs/heads/main", kCapabilities),
                                 kIdA + " " + kZeroId + " refs/tags/old", "0000"});
  ReceiveCommandsParser parser(ObjectFormat::sha1, 1 << 20);
  const io::Result<bool> complete = parser.feed(head + "PACKxyz");
  ASSERT_TRUE(complete.has_value() && *complete);
  const ReceiveCommands& commands = parser.commands();
  ASSERT_EQ(commands.commands.size(), 2U);
  EXPECT_EQ(commands.commands[0].ref, "refs/heads/main");
  EXPECT_EQ(commands.commands[0].new_id.to_hex(), kIdB);
  EXPECT_TRUE(commands.commands[1].is_delete());
  EXPECT_TRUE(commands.report_status_v2 && commands.sideband && commands.expects_pack());
  EXPECT_EQ(commands.agent, "git/2.39.5");
  EXPECT_EQ(commands.shallows, 1U);
  EXPECT_EQ(parser.commands_bytes(), head.size());
  EXPECT_EQ(parser.bytes().substr(parser.commands_bytes()), "PACKxyz");
}

TEST(ReceiveCommands, takes_the_same_from_single_bytes) {
  const std::string head =
      pkts({update("refs/heads/main", " push-options"), "0000", "ci.skip", "reviewer=ann", "0000"});
  ReceiveCommandsParser parser(ObjectFormat::sha1, 1 << 20);
  for (std::size_t i = 0; i < head.size(); ++i) {
    const io::Result<bool> complete = parser.feed(head.substr(i, 1));
    ASSERT_TRUE(complete.has_value());
    EXPECT_EQ(*complete, i + 1 == head.size()) << i;
  }
  EXPECT_EQ(parser.commands().options, (std::vector<std::string>{"ci.skip", "reviewer=ann"}));
}

TEST(ReceiveCommands, a_lone_flush_is_complete_and_empty) {
  ReceiveCommandsParser parser(ObjectFormat::sha1, 1 << 20);
  EXPECT_TRUE(*parser.feed("0000"));
  EXPECT_TRUE(parser.commands().commands.empty());
}

std::string signed_push(std::initializer_list<std::string_view> inside) {
  return pkts({"push-cert\0 report-status side-band-64k"s, "certificate version 0.1\n",
               "pusher Ann <ann@example.org> 1700000000 +0000\n", "nonce 1-abc\n", "\n"}) +
         pkts(inside) + pkts({"push-cert-end\n", "0000"});
}

TEST(ReceiveCommands, reads_the_commands_of_a_push_certificate) {
  ReceiveCommandsParser parser(ObjectFormat::sha1, 1 << 20);
  const std::string body =
      signed_push({update("refs/heads/main") + "\n", "-----BEGIN PGP SIGNATURE-----\n", "\n",
                   "iQEzBAABCAAdFiEE\n", "-----END PGP SIGNATURE-----\n"});
  ASSERT_TRUE(*parser.feed(body));
  EXPECT_TRUE(parser.commands().certificate && parser.commands().sideband);
  ASSERT_EQ(parser.commands().commands.size(), 1U);
  EXPECT_EQ(parser.commands().commands[0].ref, "refs/heads/main");
}

TEST(ReceiveCommands, refuses_what_is_no_push) {
  const std::string signature = "-----BEGIN PGP SIGNATURE-----\n";
  for (const std::string& body : {
           "0001"s,
           "0002"s,
           "PACK"s,
           "0003"s,
           "GET / HTTP/1.1"s,
           pkts({"", "0000"}),
           pkts({"hello", "0000"}),
           pkts({kIdA + " " + kIdB, "0000"}),
           pkts({kIdA + " " + kIdB + " ", "0000"}),
           pkts({kIdA + "  " + kIdB + " refs/heads/x", "0000"}),
           pkts({kIdA + "\t" + kIdB + " refs/heads/x", "0000"}),
           pkts({std::string(40, 'z') + " " + kIdB + " refs/heads/x", "0000"}),
           pkts({std::string(64, 'a') + " " + std::string(64, 'b') + " refs/heads/x", "0000"}),
           pkts({update("refs/heads/a\nrefs/heads/b"), "0000"}),
           pkts({update("refs/heads/a", "x"), update("refs/heads/b", "report-status")}),
           pkts({update("refs/heads/a", " object-format=sha256 report-status"), "0000"}),
           pkts({"shallow x", "0000"}),
           pkts({"shallow " + std::string(64, 'a'), "0000"}),
           pkts({update("refs/heads/a"), "0001"}),
           pkts({update("refs/heads/a", " push-options"), "0000", "a\nb"}),
           pkts({update("refs/heads/a", " push-options"), "0000",
                 std::string(kPushOptionBytesMax + 1, 'x')}),
           pkts({update("refs/heads/a", " push-options"), "0000", "0001"}),
           signed_push({}),
           signed_push({update("refs/heads/main")}),
           signed_push({signature}),
           signed_push({"hello", signature}),
           signed_push({update("refs/heads/a") + "\n" + update("refs/heads/b"), signature}),
           pkts({"push-cert", "certificate version 0.1\n", "0000"}),
           pkts({"push-cert", "a\n\nb\n"}),
           signed_push({update("refs/heads/a"), signature}),  // git would join these lines
           signed_push({update("refs/heads/a") + "\0x\n"s, signature}),
           signed_push({"", update("refs/heads/a") + "\n", signature}),
           pkts({update("refs/heads/a"), "push-cert"}),
           pkts({"push-cert", "\n", update("refs/heads/a") + "\n", signature, "push-cert-end\n",
                 update("refs/heads/b")}),
       }) {
    ReceiveCommandsParser parser(ObjectFormat::sha1, 1 << 20);
    EXPECT_FALSE(parser.feed(body).has_value()) << body;
  }
}

TEST(ReceiveCommands, an_object_format_refusal_knows_how_to_be_shown) {
  ReceiveCommandsParser parser(ObjectFormat::sha1, 1 << 20);
  EXPECT_FALSE(parser.feed(pkts({update("refs/heads/a", " object-format=sha256 side-band-64k")})));
  EXPECT_TRUE(parser.commands().sideband);
}

TEST(ReceiveCommands, bounds_the_commands) {
  const std::string line = pkts({update("refs/heads/main")});
  ReceiveCommandsParser parser(ObjectFormat::sha1, 10 * line.size());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(parser.feed(line).has_value());
  EXPECT_FALSE(parser.feed(line).has_value());
  ReceiveCommandsParser partial(ObjectFormat::sha1, 100);
  EXPECT_FALSE(partial.feed("ffe0" + std::string(200, 'x')).has_value());
}

TEST(ReceiveCommands, knows_valid_ref_names) {
  for (const char* name : {"refs/heads/main", "refs/heads/a/b/c", "refs/for/main", "refs/heads/@",
                           "refs/heads/a.b", "refs/tags/v1.0", "refs/heads/{x}", "refs/heads/ü"}) {
    EXPECT_TRUE(valid_push_ref(name, false)) << name;
  }
  EXPECT_TRUE(valid_push_ref("refs/stash", true));
  std::string deep = "refs/heads";
  for (int i = 2; i <= kPushRefSlashesMax; ++i) deep += "/x";
  EXPECT_TRUE(valid_push_ref(deep, false));
  EXPECT_TRUE(valid_push_ref(deep + "/x", true));
  for (const std::string& name : {""s,
                                  "HEAD"s,
                                  "refs"s,
                                  "refs/"s,
                                  "refs/stash"s,
                                  "heads/main"s,
                                  "/refs/heads/x"s,
                                  "refs/heads/"s,
                                  "refs//heads/x"s,
                                  "refs/heads//x"s,
                                  "refs/heads/x/"s,
                                  "refs/heads/.x"s,
                                  "refs/.heads/x"s,
                                  "refs/heads/x.lock"s,
                                  "refs/heads/x.lock/y"s,
                                  "refs/heads/a..b"s,
                                  "refs/heads/../../config"s,
                                  "refs/heads/a b"s,
                                  "refs/heads/a~b"s,
                                  "refs/heads/a^b"s,
                                  "refs/heads/a:b"s,
                                  "refs/heads/a?b"s,
                                  "refs/heads/a*b"s,
                                  "refs/heads/a[b"s,
                                  "refs/heads/a\\b"s,
                                  "refs/heads/a@{b"s,
                                  "refs/heads/x."s,
                                  "refs/heads/\x7f"s,
                                  "refs/heads/\x01"s,
                                  "refs/heads/a\0b"s,
                                  deep + "/x",
                                  "refs/heads/" + std::string(kPushRefBytesMax, 'x')}) {
    EXPECT_FALSE(valid_push_ref(name, false)) << name;
  }
}

}  // namespace
}  // namespace weir::git
