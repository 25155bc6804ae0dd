#include "server/trace_context.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

constexpr char kGood[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContext, keeps_the_trace_id_and_makes_a_span_of_its_own) {
  const TraceContext context = TraceContext::continue_or_start(kGood);
  EXPECT_EQ(context.trace_id_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_TRUE(context.sampled);
  const std::string passed_on = context.traceparent();
  EXPECT_EQ(passed_on.size(), 55U);
  EXPECT_EQ(passed_on.substr(0, 36), std::string(kGood).substr(0, 36));
  EXPECT_NE(passed_on.substr(36, 16), "00f067aa0ba902b7");
}

TEST(TraceContext, replaces_what_is_malformed) {
  const char* const refused[] = {
      "",
      "00",
      "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
      "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\n",
  };
  for (const char* header : refused) {
    const TraceContext context = TraceContext::continue_or_start(header);
    EXPECT_NE(context.trace_id_text(), "4bf92f3577b34da6a3ce929d0e0e4736") << header;
    // What is passed on is itself well formed.
    const TraceContext again = TraceContext::continue_or_start(context.traceparent());
    EXPECT_EQ(again.trace_id_text(), context.trace_id_text()) << header;
  }
}

}  // namespace
}  // namespace weir::server
