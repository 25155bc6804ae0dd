#include "git/report_relay.h"

#include <gtest/gtest.h>

#include "tests/git/pkt_text.h"

namespace weir::git {
namespace {

using std::string_literals::operator""s;

std::string report() {
  return pkts({"unpack ok\n", "ok refs/heads/main\n", "0000"});
}
std::string on_band(char band, const std::string& payload) {
  std::string out;
  append_sideband(out, static_cast<Band>(band), payload);
  return out;
}

TEST(ReportRelay, passes_progress_and_holds_the_report) {
  const std::string before = on_band(2, "Resolving deltas\n");
  const std::string after = on_band(2, "remote: deployed\n");
  const std::string output =
      before + std::string("0005\x01", 5) + on_band(1, report()) + after + "0000";
  for (std::size_t piece = 1; piece <= output.size(); ++piece) {
    ReportRelay relay(true);
    std::string passing;
    for (std::size_t at = 0; at < output.size(); at += piece) {
      ASSERT_TRUE(relay.feed(output.substr(at, piece), passing)) << piece;
    }
    EXPECT_EQ(passing, before + std::string("0005\x01", 5) + after) << piece;
    EXPECT_TRUE(relay.report_complete() && relay.accepts_any() && relay.saw_final_flush());
    EXPECT_EQ(relay.framed_report(), on_band(1, report()));
  }
}

TEST(ReportRelay, holds_everything_without_a_sideband) {
  ReportRelay relay(false);
  std::string passing;
  ASSERT_TRUE(relay.feed(report(), passing));
  EXPECT_TRUE(passing.empty());
  EXPECT_TRUE(relay.report_complete());
  EXPECT_EQ(relay.framed_report(), report());
}

TEST(ReportRelay, a_report_may_come_in_several_packets) {
  ReportRelay relay(true);
  std::string passing;
  const std::string text = report();
  ASSERT_TRUE(relay.feed(on_band(1, text.substr(0, 6)), passing));
  EXPECT_FALSE(relay.report_complete());
  ASSERT_TRUE(relay.feed(on_band(1, text.substr(6)), passing));
  EXPECT_TRUE(relay.report_complete());
}

TEST(ReportRelay, tells_the_refused_refs_and_their_reasons) {
  const auto refusals_of = [](const std::vector<std::string>& lines) {
    ReportRelay relay(false);
    std::string passing, output;
    for (const std::string& line : lines) append_pkt(output, line);
    append_flush(output);
    EXPECT_TRUE(relay.feed(output, passing));
    return relay.refusals();
  };
  EXPECT_EQ(refusals_of({"unpack ok\n", "ok refs/heads/main\n"}), "");
  EXPECT_EQ(refusals_of({"unpack ok\n", "ng refs/heads/a non-fast-forward\n", "ok refs/heads/b\n",
                         "ng refs/heads/c pre-receive hook declined\n"}),
            "refs/heads/a: non-fast-forward; refs/heads/c: pre-receive hook declined");
  EXPECT_EQ(refusals_of({"unpack index-pack failed\n", "ng refs/heads/a"}),
            "unpack index-pack failed; refs/heads/a:");
  std::vector<std::string> many = {"unpack ok\n"};
  for (int i = 0; i < 100; ++i) many.push_back("ng refs/heads/" + std::string(50, 'a') + " no\n");
  const std::string told = refusals_of(many);
  EXPECT_LT(told.size(), kRefusalsBytesMax + 20);
  EXPECT_TRUE(told.ends_with("; 94 more")) << told;
  EXPECT_EQ(refusals_of({"ng refs/heads/a " + std::string(5000, 'x')}).size(), kRefusalsBytesMax);
}

TEST(ReportRelay, knows_a_report_that_accepts_nothing) {
  ReportRelay relay(true);
  std::string passing;
  ASSERT_TRUE(relay.feed(
      on_band(1, pkts({"unpack ok\n", "ng refs/heads/main pre-receive hook declined\n", "0000"})),
      passing));
  EXPECT_TRUE(relay.report_complete());
  EXPECT_FALSE(relay.accepts_any());
}

TEST(ReportRelay, refuses_what_receive_pack_never_writes) {
  for (const std::string& output :
       {"fatal: x"s, "0003"s, "0001"s, "0004"s, on_band(4, "x"), "0005\0"s, on_band(1, "PACK"),
        on_band(1, report()) + on_band(1, "more"), on_band(1, report() + "x"),
        "0000"s + on_band(2, "late"), on_band(1, "0001")}) {
    ReportRelay relay(true);
    std::string passing;
    EXPECT_FALSE(relay.feed(output, passing)) << output;
  }
}

}  // namespace
}  // namespace weir::git
