#include "git/report.h"

#include <gtest/gtest.h>

#include "tests/git/pkt_text.h"

namespace weir::git {
namespace {

ReceiveCommands two_commands() {
  ReceiveCommands commands;
  commands.report_status = true;
  commands.sideband = true;
  commands.commands.push_back({{}, {}, "refs/heads/main", true});
  commands.commands.push_back({{}, {}, "refs/heads/a\tb", false});
  return commands;
}

TEST(Report, every_text_names_the_request_and_holds_no_control_character) {
  EXPECT_EQ(refusal_text("no\nway", "r1"), "weir: no?way (request r1)");
  EXPECT_EQ(error_answer("busy", "r1"), pkts({"ERR weir: busy (request r1)"}));
  EXPECT_EQ(fatal_band("broken", "r1"), pkts({"\x03weir: broken (request r1)\n"}));
}

TEST(Report, a_refused_push_gets_a_text_and_a_report) {
  const std::string report =
      pkts({"unpack weir: too big (request r1)\n", "ng refs/heads/main not done\n",
            "ng refs/heads/a?b funny refname\n", "0000"});
  EXPECT_EQ(push_refusal(two_commands(), "too big", "not done", "r1"),
            pkts({"\x02weir: too big (request r1)\n", "\x01" + report, "0000"}));
}

TEST(Report, a_refused_push_without_sideband_gets_the_report_alone) {
  ReceiveCommands commands = two_commands();
  commands.sideband = false;
  EXPECT_TRUE(
      push_refusal(commands, "x", "y", "r").starts_with(pkts({"unpack weir: x (request r)\n"})));
  commands.report_status = false;
  EXPECT_EQ(push_refusal(commands, "x", "y", "r"), "");
}

}  // namespace
}  // namespace weir::git
