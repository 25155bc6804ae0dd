#include "io/write_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

namespace weir::io {
namespace {

constexpr std::size_t kChunk = 64 * 1024;

// Has `left` bytes to send; gives at most a chunk a call and queues itself again.
struct Source final : WriteSource {
  Source(WriteScheduler& owner, WriteFlow own_flow, std::size_t bytes)
      : scheduler(owner), flow(own_flow), left(bytes) {}
  std::size_t write_some(std::size_t bytes_max) override {
    const std::size_t bytes = std::min({bytes_max, left, kChunk});
    left -= bytes;
    written += bytes;
    ++calls;
    if (left > 0) scheduler.ready(*this, flow);
    return bytes;
  }
  WriteScheduler& scheduler;
  WriteFlow flow;
  std::size_t left;
  std::size_t written = 0;
  int calls = 0;
};

TEST(WriteScheduler, serves_everything_when_it_is_little) {
  WriteScheduler scheduler;
  Source source(scheduler, {}, 100'000);
  scheduler.ready(source, source.flow);
  scheduler.ready(source, source.flow);  // queued once
  EXPECT_FALSE(scheduler.run());
  EXPECT_EQ(source.written, 100'000u);
  EXPECT_EQ(scheduler.flows_waiting(), 0u);
}

TEST(WriteScheduler, bounds_the_bytes_of_one_turn) {
  WriteScheduler scheduler;
  Source source(scheduler, {}, 10 * kWriteTurnBytesMax);
  scheduler.ready(source, source.flow);
  EXPECT_TRUE(scheduler.run());
  EXPECT_GE(source.written, kWriteTurnBytesMax);
  EXPECT_LE(source.written, kWriteTurnBytesMax + kChunk);
  source.unlink();
}

TEST(WriteScheduler, a_flow_with_many_sources_gets_no_more_than_one_with_a_single_source) {
  WriteScheduler scheduler;
  std::deque<Source> many;
  for (int i = 0; i < 20; ++i) many.emplace_back(scheduler, WriteFlow{.id = 1}, 8u << 20);
  Source single(scheduler, {.id = 2}, 64u << 20);
  for (Source& source : many) scheduler.ready(source, source.flow);
  scheduler.ready(single, single.flow);
  for (int turn = 0; turn < 16; ++turn) EXPECT_TRUE(scheduler.run());
  std::size_t of_many = 0;
  for (Source& source : many) of_many += source.written;
  EXPECT_NEAR(static_cast<double>(of_many) / static_cast<double>(single.written), 1.0, 0.1);
  EXPECT_GT(many.back().written, 0u);  // the sources of a flow take turns
  for (Source& source : many) source.unlink();
  single.unlink();
}

TEST(WriteScheduler, weights_divide_the_bytes) {
  WriteScheduler scheduler;
  Source light(scheduler, {.id = 1, .weight = 1}, 256u << 20);
  Source heavy(scheduler, {.id = 2, .weight = 3}, 256u << 20);
  scheduler.ready(light, light.flow);
  scheduler.ready(heavy, heavy.flow);
  for (int turn = 0; turn < 64; ++turn) scheduler.run();
  EXPECT_NEAR(static_cast<double>(heavy.written) / static_cast<double>(light.written), 3.0, 0.2);
  light.unlink();
  heavy.unlink();
}

TEST(WriteScheduler, sources_that_produce_nothing_do_not_hold_the_turn_for_ever) {
  struct Idle final : WriteSource {
    explicit Idle(WriteScheduler& owner) : scheduler(owner) {}
    std::size_t write_some(std::size_t) override {
      ++calls;
      scheduler.ready(*this, {});
      return 0;
    }
    WriteScheduler& scheduler;
    std::size_t calls = 0;
  };
  WriteScheduler scheduler;
  Idle idle(scheduler);
  scheduler.ready(idle, {});
  EXPECT_TRUE(scheduler.run());
  EXPECT_LE(idle.calls, kWriteTurnBytesMax / kWriteCallBytesMin);
  idle.unlink();
}

TEST(WriteScheduler, a_source_may_leave_while_it_is_queued) {
  WriteScheduler scheduler;
  {
    Source gone(scheduler, {.id = 5}, 1);
    scheduler.ready(gone, gone.flow);
    gone.unlink();
  }
  EXPECT_FALSE(scheduler.run());
  EXPECT_EQ(scheduler.flows_waiting(), 0u);
}

}  // namespace
}  // namespace weir::io
